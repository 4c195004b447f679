"""Which alerts and anomalies something is about: matchers as Alertmanager writes them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from pipelines.alerts.errors import AlertConfigError

Labels = Mapping[str, Collection[str]]
NAMES = ("kind", "source", "severity", "field", "model", "version")
_FORM = re.compile(r"\s*(\w+)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.S)


class Matcher:
    """One of `name=value`, `name!=value`, `name=~regex`, `name!~regex`.

    A regular expression must match the whole value. A label may have several values (the fields
    that moved, the sources of a group): `=` and `=~` want one of them to match, `!=` and `!~` want
    that none does.

    Raises:
        AlertConfigError: not of this form, an unknown label, or no regular expression.
    """

    def __init__(self, text: str) -> None:
        form = _FORM.fullmatch(text)
        if not form:
            raise AlertConfigError(f"{text!r} is no matcher; write source=~db-.* or severity=major")
        self.name, self.operator, value = form.groups()
        if self.name not in NAMES:
            raise AlertConfigError(f"no label {self.name!r} in {text!r}; there are {list(NAMES)}")
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        try:
            pattern = value if "~" in self.operator else re.escape(value)
            self._pattern = re.compile(pattern, re.S)
        except re.error as error:
            raise AlertConfigError(f"{value!r} is no regular expression ({error})") from error
        self.text = f"{self.name}{self.operator}{value}"

    def matches(self, labels: Labels, every: Collection[str] = ()) -> bool:
        """`every`: labels all of whose values must match where one would do otherwise."""
        values = labels.get(self.name) or ("",)
        found = [self._pattern.fullmatch(v) is not None for v in values]
        if self.operator.startswith("!"):
            return not any(found)
        return all(found) if self.name in every else any(found)


class Matchers:
    """All of them must match; none at all matches everything."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._matchers = [Matcher(str(t)) for t in texts]
        self.texts = [m.text for m in self._matchers]

    def matches(self, labels: Labels, every: Collection[str] = ()) -> bool:
        return all(m.matches(labels, every) for m in self._matchers)

    def __str__(self) -> str:
        return ", ".join(self.texts) or "everything"
