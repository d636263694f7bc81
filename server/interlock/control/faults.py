"""What can go wrong between a command and the owner, as one exception with a code, a sentence and a hint."""

from __future__ import annotations

from collections.abc import Mapping


class ControlFault(Exception):
    """A request to the owner that failed. `code` is stable; `message` says what, `hint` how to mend it."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def to_json(self) -> dict[str, str]:
        """As it crosses the socket."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


def fault_from_json(value: object) -> ControlFault:
    """The fault that crossed the socket."""
    if not isinstance(value, Mapping):
        return ControlFault("INTERNAL", "the other side gave no reason")
    return ControlFault(str(value.get("code", "INTERNAL")), str(value.get("message", "")), str(value.get("hint", "")))
