"""Together: many hosts' decisions as one. The strictest wins, and whatever lifts it has to lift all of them."""

from __future__ import annotations

from collections.abc import Sequence

from interlock_policies.facts import Decision, Verdict

_STRICTNESS = (Verdict.ALLOW, Verdict.ASK, Verdict.DENY)


def together(decisions: Sequence[Decision]) -> Decision:
    """One decision for a call that is decided once for each host; DENY where there is none."""
    if not decisions:
        return Decision(Verdict.DENY)
    verdict = max((decision.verdict for decision in decisions), key=_STRICTNESS.index)
    deciding = [decision for decision in decisions if decision.verdict is verdict]
    asking = [decision for decision in decisions if decision.verdict is Verdict.ASK]
    return Decision(
        verdict,
        tuple({rule.id: rule for decision in deciding for rule in decision.rules}.values()),
        tuple(dict.fromkeys(need for decision in asking for need in decision.obligations)),
        tuple(dict.fromkeys(error for decision in decisions for error in decision.errors)),
        decisions[0].policy_version,
    )
