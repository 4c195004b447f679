"""What is wrong with one instance of a request."""

from __future__ import annotations


class InstanceError(ValueError):
    """One instance that cannot be answered; its neighbours can.

    Args:
        status: the HTTP status that its sender deserves: 400 malformed, 422 not answerable.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def as_json(self) -> dict[str, dict[str, int | str]]:
        return {"error": {"status": self.status, "detail": self.detail}}
