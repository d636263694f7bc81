"""A client without a model: it applies nothing but `recovery` until its call passes or no recovery is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interlock_tools.call import Call
from interlock_tools.catalog import Catalog, build_catalog
from interlock_tools.errors import Action, Refusal

STEPS_MAX = 10


def sandbox_catalog(**changes: Any) -> Catalog:
    """One host `sandbox` with known directories."""
    known = {
        "hosts": ["sandbox"],
        "groups": [],
        "cwd_of": {"sandbox": "/srv/work"}.__getitem__,
        "home_of": {"sandbox": "/home/agent"}.__getitem__,
    }
    return build_catalog(**(known | changes))


@dataclass(frozen=True)
class Followed:
    """How it ended, and every refusal on the way."""

    end: Call | Refusal
    refusals: tuple[Refusal, ...]


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, as written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def follow(catalog: Catalog, tool: str, arguments: Any) -> Followed:
    refusals: list[Refusal] = []
    for _ in range(STEPS_MAX):
        answer = catalog.accept(tool, arguments, call_id="c_1", principal="agent")
        if isinstance(answer, Call):
            return Followed(answer, tuple(refusals))
        refusals.append(answer)
        step = answer.next_step()
        if step.action is Action.CHANGE_ARGUMENTS:
            arguments = merged(arguments, step.arguments)
        elif step.action is Action.USE_TOOL:
            tool, arguments = step.tool, dict(step.arguments)
        else:
            return Followed(answer, tuple(refusals))
    raise AssertionError(f"still not there after {STEPS_MAX} steps: {refusals[-1]}")
