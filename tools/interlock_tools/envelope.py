"""The envelope: the one answer every tool gives, for success and error alike, and its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock_tools.call import Json
from interlock_tools.errors import Action, Refusal, State, refusal_codes


@dataclass(frozen=True, slots=True)
class Verified:
    """What one postcondition turned out to be."""

    check: str
    target: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try on one host: when it began (ISO 8601, UTC), how long it took, how it ended."""

    host: str
    started: str
    seconds: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Scores:
    """Each 0..1, or None where it was not measured."""

    validity: float | None = None
    success: float | None = None
    side_effects: float | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What changed on the host, and by which means that was seen. `left_out`: how many paths are not listed."""

    created: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    observed: str = "none"  # staged | confined | scanned | none
    left_out: int = 0


_WELL = (State.SUCCEEDED, State.RUNNING, State.HELD)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One answer. `ok` is True only where the call did all that was asked and every postcondition holds."""

    call_id: str
    state: State
    result: Mapping[str, Json] = field(default_factory=dict)
    effects: Changed = Changed()
    verified: tuple[Verified, ...] = ()
    scores: Scores = Scores()
    attempts: tuple[Attempt, ...] = ()
    replayed: bool = False
    undo_available: bool = False
    undo_until: str | None = None
    notices: tuple[str, ...] = ()
    error: Refusal | None = None
    error_json: Mapping[str, Json] | None = None  # a stored answer's error, when it is replayed

    @property
    def ok(self) -> bool:
        """True where there is no error and the call ended well, is on its way, or waits to be landed as asked."""
        return self.error is None and self.error_json is None and self.state in _WELL

    def to_json(self) -> dict[str, Json]:
        """The envelope as the contract has it."""
        error = self.error.to_json() if self.error else (dict(self.error_json) if self.error_json else None)
        return {
            "ok": self.ok,
            "call_id": self.call_id,
            "state": self.state.value,
            "result": dict(self.result),
            "effects": {
                "created": list(self.effects.created),
                "modified": list(self.effects.modified),
                "deleted": list(self.effects.deleted),
                "undeclared": list(self.effects.undeclared),
                "observed": self.effects.observed,
                "left_out": self.effects.left_out,
            },
            "verified": [
                {"check": v.check, "target": v.target, "passed": v.passed, "detail": v.detail} for v in self.verified
            ],
            "scores": {
                "validity": self.scores.validity,
                "success": self.scores.success,
                "side_effects": self.scores.side_effects,
            },
            "attempts": [
                {"host": a.host, "started": a.started, "seconds": a.seconds, "outcome": a.outcome}
                for a in self.attempts
            ],
            "replayed": self.replayed,
            "undo": {"available": self.undo_available, "until": self.undo_until},
            "notices": list(self.notices),
            "error": error,
        }


def envelope_from_json(value: Mapping[str, Json]) -> Envelope:
    """A stored envelope as a value again; its error stays the JSON it was."""
    changed = value["effects"]
    return Envelope(
        call_id=value["call_id"],
        state=State(value["state"]),
        result=value["result"],
        effects=Changed(
            tuple(changed["created"]),
            tuple(changed["modified"]),
            tuple(changed["deleted"]),
            tuple(changed["undeclared"]),
            changed["observed"],
            changed["left_out"],
        ),
        verified=tuple(Verified(**entry) for entry in value["verified"]),
        scores=Scores(**value["scores"]),
        attempts=tuple(Attempt(**entry) for entry in value["attempts"]),
        replayed=value["replayed"],
        undo_available=value["undo"]["available"],
        undo_until=value["undo"]["until"],
        notices=tuple(value["notices"]),
        error_json=value["error"],
    )


ACTIONS = tuple(action.value for action in Action)
STATES = tuple(state.value for state in State)
CODES = tuple(refusal_codes())
OBSERVED = ("staged", "confined", "scanned", "none")


def _closed(properties: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _listed(items: Mapping[str, Json]) -> dict[str, Json]:
    return {"type": "array", "items": dict(items)}


_TEXT: Mapping[str, Json] = {"type": "string"}
_FLAG: Mapping[str, Json] = {"type": "boolean"}
_OPEN: Mapping[str, Json] = {"type": "object", "additionalProperties": True}


def _or_null(shape: Mapping[str, Json]) -> dict[str, Json]:
    # A list of types is refused by some clients; below the root of an output schema anyOf passes all of them.
    return {"anyOf": [dict(shape), {"type": "null"}]}


_RECOVERY = _closed(
    {"action": {"type": "string", "enum": list(ACTIONS)}, "tool": _TEXT, "arguments": _OPEN, "because": _TEXT}
)
_ERROR = _closed(
    {
        "code": {"type": "string", "enum": list(CODES)},
        "message": _TEXT,
        "path": _TEXT,
        "retryable": _FLAG,
        "retry_after_seconds": _or_null({"type": "integer", "minimum": 0}),
        "rules": _listed(_TEXT),
        "allowed": _listed(_TEXT),
        "recovery": _RECOVERY,
    }
)
_SCORE = _or_null({"type": "number", "minimum": 0, "maximum": 1})

# The whole envelope, as the documents and the tests have it.
ENVELOPE_SCHEMA: Mapping[str, Json] = _closed(
    {
        "ok": _FLAG,
        "call_id": _TEXT,
        "state": {"type": "string", "enum": list(STATES)},
        "result": _OPEN,
        "effects": _closed(
            {name: _listed(_TEXT) for name in ("created", "modified", "deleted", "undeclared")}
            | {"observed": {"type": "string", "enum": list(OBSERVED)}, "left_out": {"type": "integer", "minimum": 0}}
        ),
        "verified": _listed(_closed({"check": _TEXT, "target": _TEXT, "passed": _FLAG, "detail": _TEXT})),
        "scores": _closed({"validity": _SCORE, "success": _SCORE, "side_effects": _SCORE}),
        "attempts": _listed(
            _closed({"host": _TEXT, "started": _TEXT, "seconds": {"type": "number", "minimum": 0}, "outcome": _TEXT})
        ),
        "replayed": _FLAG,
        "undo": _closed({"available": _FLAG, "until": _or_null(_TEXT)}),
        "notices": _listed(_TEXT),
        "error": _or_null(_ERROR),
    }
)

# What every tool publishes of it: the barest outline, because it goes over the wire once for each tool and has to leave
# room for the arguments. Every envelope is valid under it, and nothing in it is nullable.
OUTPUT_SCHEMA: Mapping[str, Json] = {"type": "object"}
