"""TorchServe's side of a handler, without a server."""

from __future__ import annotations


class Context:
    """What TorchServe hands to a handler, as far as ours uses it."""

    def __init__(self) -> None:
        self.status: dict[int, int] = {}

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.status[idx] = code

    def set_response_content_type(self, idx: int, value: str) -> None:
        assert value == "application/json"
