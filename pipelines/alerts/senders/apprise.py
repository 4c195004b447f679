"""Email, SMS, chats, pagers and plain webhooks, through Apprise and its URLs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from apprise import Apprise, AppriseAsset, AppriseAttachment, NotifyFormat, NotifyType
from apprise.attachment.memory import AttachMemory

from pipelines.alerts.errors import AlertConfigError, SendError
from pipelines.alerts.letter import PICTURE, Letter
from pipelines.alerts.message import RESOLVED
from pipelines.alerts.senders.sender import Receipt

# No deadline of Apprise's own (its plugins have timeouts): those run in another thread, and what is
# logged of a failure could not be told from another message's.
_ASSET = AppriseAsset(
    app_id="Millrace", app_desc="Millrace alerts", async_mode=False, service_timeout=0
)
_TYPES = {
    "info": NotifyType.INFO,
    "warning": NotifyType.WARNING,
    "major": NotifyType.WARNING,
    "critical": NotifyType.FAILURE,
}
_BODIES: Mapping[str, Callable[[Letter], str]] = {
    "short": lambda letter: letter.subject,
    "text": lambda letter: letter.text,
    "html": lambda letter: letter.html,
}


class AppriseSender:
    """One Apprise URL.

    Args:
        url: in Apprise's form for the service; its secrets come from the environment.
        form: `html` (email: with a text alternative), `text` (chats), `short` (SMS: the subject).
        picture: attach the plot where the service takes attachments.
        per_message: parameters of the URL that each message fills in, `{key}` with its idempotency
            key, `{alert}` with the alert's number.

    Raises:
        AlertConfigError: no URL for Apprise, or no such form; the text names the scheme only.
    """

    def __init__(
        self, url: str, form: str, picture: bool, per_message: Mapping[str, str] | None = None
    ) -> None:
        if form not in _BODIES:
            raise AlertConfigError(f"form={form!r}: there are {list(_BODIES)}")
        self._url, self._form, self._picture = url, form, picture
        self._per_message = dict(per_message or {})
        if Apprise.instantiate(url) is None:
            scheme = url.partition("://")[0] if "://" in url else "no scheme"
            raise AlertConfigError(
                f"Apprise cannot use this URL ({scheme}://…); its wiki says what the service needs"
            )

    def send(self, letter: Letter) -> Receipt:
        apprise = Apprise(asset=_ASSET)
        apprise.add(self._filled(letter))
        resolved = letter.message.reason == RESOLVED
        notice = NotifyType.SUCCESS if resolved else _TYPES[letter.message.severity]
        options: dict[str, Any] = {}
        if self._picture and letter.picture is not None:
            picture = AttachMemory(  # type: ignore[no-untyped-call]
                content=letter.picture, name=PICTURE, mimetype="image/png"
            )
            attachments = AppriseAttachment()
            attachments.add(picture)
            options["attach"] = attachments
        said = _Said()
        logger = logging.getLogger("apprise")
        logger.addHandler(said)
        try:
            arrived = apprise.notify(
                title="" if self._form == "short" else letter.subject,
                body=_BODIES[self._form](letter),
                notify_type=notice,
                body_format=NotifyFormat.HTML if self._form == "html" else NotifyFormat.TEXT,
                **options,
            )
        finally:
            logger.removeHandler(said)
        if not arrived:
            raise SendError(said.text or "Apprise could not send it")
        return Receipt()

    def _filled(self, letter: Letter) -> str:
        """The URL of one message."""
        values = {"key": letter.key, "alert": letter.message.alert}
        pairs = [
            f"{name}={quote(text.format(**values), safe='')}"
            for name, text in self._per_message.items()
        ]
        if not pairs:
            return self._url
        return self._url + ("&" if "?" in self._url else "?") + "&".join(pairs)


class _Said(logging.Handler):
    """What Apprise says of a failure, which it only logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []
        self._thread = threading.get_ident()  # others send at the same time

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._lines.append(record.getMessage())

    @property
    def text(self) -> str:
        return "; ".join(self._lines)
