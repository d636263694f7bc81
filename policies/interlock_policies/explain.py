"""Explanations: why a call was decided as it was, what would pass, and what a principal may do.

Every sentence is the engine's own answer to a question like the one asked; nothing is read off the rules' texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from interlock_policies.facts import Decision, HostFacts, Level, Principal, Situation, Verdict
from interlock_policies.obligations import containment_reachable
from interlock_policies.requests import STRICTEST_ENVIRONMENT
from interlock_tools.call import Call, Confidence, Json
from interlock_tools.effects import Effect, EffectKind, Effects

_PATHS = (EffectKind.WRITE, EffectKind.DELETE, EffectKind.READ)
_EFFECTS_EXPLAINED_MAX = 20


class Decider(Protocol):
    """Whatever decides: the policy engine."""

    def decide(
        self, principal: Principal, host: HostFacts, call: Call, effects: Effects, situation: Situation
    ) -> Decision: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, and what would pass. `parts`: each effect with the decision it would get alone. `would_pass`: sentences."""

    decision: Decision
    parts: tuple[tuple[str, Decision], ...] = ()
    would_pass: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The explanation for a reader, line by line."""
        found = [sentence(self.decision)]
        found += [f"  {rule.id}: {rule.title}{f' — {rule.hint}' if rule.hint else ''}" for rule in self.decision.rules]
        found += [f"  engine: {error}" for error in self.decision.errors]
        found += [f"{part}: {sentence(decision)}" for part, decision in self.parts]
        return found + [f"would pass: {line}" for line in self.would_pass]

    def to_json(self) -> dict[str, Json]:
        """The explanation for a program."""
        return {
            "verdict": self.decision.verdict.value,
            "obligations": list(self.decision.obligations),
            "rules": [{"id": rule.id, "title": rule.title, "hint": rule.hint} for rule in self.decision.rules],
            "errors": list(self.decision.errors),
            "parts": [
                {"effect": part, "verdict": decision.verdict.value, "rules": list(decision.rule_ids)}
                for part, decision in self.parts
            ],
            "would_pass": list(self.would_pass),
        }


@dataclass(frozen=True, slots=True)
class _Asked:
    principal: Principal
    host: HostFacts
    call: Call
    effects: Effects
    situation: Situation


def explain(
    decider: Decider, principal: Principal, host: HostFacts, call: Call, effects: Effects, *, situation: Situation
) -> Explanation:
    """Why this call gets its verdict, effect by effect, and which changes to it the engine says would help."""
    asked = _Asked(principal, host, call, effects, situation)
    decision = _decide(decider, asked)
    parts = tuple(
        (f"{effect.kind.value} {effect.target}", _decide(decider, replace(asked, effects=Effects(inferred=(effect,)))))
        for effect in dict.fromkeys(effects.inferred[:_EFFECTS_EXPLAINED_MAX])
    )
    if decision.verdict is Verdict.ALLOW:
        return Explanation(decision, parts)
    better = tuple(
        line for line, variant in _variants(asked) if _rank(_decide(decider, variant).verdict) > _rank(decision.verdict)
    )
    lifted = (f"the same call, with {_joined(decision.obligations)}",) if decision.obligations else ()
    return Explanation(decision, parts, (*lifted, *better))


def _decide(decider: Decider, asked: _Asked) -> Decision:
    return decider.decide(asked.principal, asked.host, asked.call, asked.effects, asked.situation)


def _rank(verdict: Verdict) -> int:
    return (Verdict.DENY, Verdict.ASK, Verdict.ALLOW).index(verdict)


def _variants(asked: _Asked) -> Iterator[tuple[str, _Asked]]:
    """Calls like this one, each with one thing changed."""
    for directory in (*asked.host.workspace, "/tmp"):  # noqa: S108 - a directory of the host that policy speaks of
        moved = tuple(_moved(effect, directory) for effect in asked.effects.inferred)
        if moved != asked.effects.inferred:
            yield f"the same below {directory}", replace(asked, effects=replace(asked.effects, inferred=moved))
    if asked.call.confidence is not Confidence.HIGH:
        yield "the same with confidence high", replace(asked, call=replace(asked.call, confidence=Confidence.HIGH))
    if asked.effects.opaque or asked.effects.unknown_programs:
        plain = replace(asked.effects, opaque=(), unknown_programs=())
        yield "the same as plain commands of known programs", replace(asked, effects=plain)
    if asked.effects.privileged:
        yield "the same without becoming another user", replace(asked, effects=replace(asked.effects, privileged=False))
    for environment in ("staging", "dev"):
        if asked.host.environment not in (environment, "dev", "sandbox"):
            host = replace(asked.host, labels={**asked.host.labels, "env": environment})
            yield f"the same on a host with env={environment}", replace(asked, host=host)
    if "operator" not in asked.principal.roles:
        roles = asked.principal.roles | {"operator"}
        yield (
            "the same by a principal with the role operator",
            replace(asked, principal=replace(asked.principal, roles=roles)),
        )


def _moved(effect: Effect, directory: str) -> Effect:
    if effect.kind not in _PATHS[:2]:
        return effect
    return replace(effect, target=f"{directory}/{effect.target.rstrip('/').rpartition('/')[2] or 'x'}")


def sentence(decision: Decision) -> str:
    """One decision in one sentence."""
    match decision.verdict:
        case Verdict.ALLOW:
            return "allowed"
        case Verdict.ASK:
            return f"asks: needs {_joined(decision.obligations)} ({decision.rules[0].title})"
        case _:
            why = decision.rules[0].title if decision.rules else "nothing matched"
            return f"denied: {why}"


def _joined(obligations: tuple[str, ...]) -> str:
    return " and ".join(_said(part) for part in obligations)


def _said(obligation: str) -> str:
    kind, _, what = obligation.partition(":")
    if kind == "containment":
        return f"a {Level(int(what)).word} run"
    return f"approval by {what}" if kind == "approval" else obligation


def allowed_for(decider: Decider, principal: Principal, host: HostFacts, situation: Situation | None = None) -> str:
    """What this principal may do on this host, in words (Markdown): the engine's answer to typical calls.

    Without a `situation`, as contained as the host can do it.
    """
    asked = situation or Situation(containment=containment_reachable(host))
    environment = host.environment or f"none, which counts as {STRICTEST_ENVIRONMENT}"
    roles = ", ".join(sorted(principal.roles)) or "none"
    lines = [
        f"## {host.name}",
        f"You are {principal.name} (roles: {roles}). Environment: {environment}.",
        f"Workspace: {', '.join(host.workspace) or 'none'}. Commands are at most {containment_reachable(host).word}.",
        "",
    ]
    for label, call, effects in _typical(principal, host):
        decision = decider.decide(principal, host, call, effects, asked)
        hint = f" {decision.rules[0].hint}" if decision.verdict is not Verdict.ALLOW and decision.rules else ""
        lines.append(f"- {label}: {sentence(decision)}.{hint}".rstrip())
    return "\n".join(lines) + "\n"


def _typical(principal: Principal, host: HostFacts) -> Iterator[tuple[str, Call, Effects]]:
    """What agents typically want, as calls on this host."""
    place = host.workspace[0] if host.workspace else host.cwd.rstrip("/")
    service, remote = "restart SERVICE", "https://example.com"
    probes: tuple[tuple[str, EffectKind, str, bool], ...] = (
        ("read configuration and logs", EffectKind.READ, "/var/log/application.log", False),
        ("read secrets (keys, .env, /etc/shadow)", EffectKind.READ, "/etc/shadow", False),
        (f"write a file below {place}", EffectKind.WRITE, f"{place}/file", False),
        (f"delete a directory below {place}", EffectKind.DELETE, f"{place}/directory", True),
        ("write below /tmp", EffectKind.WRITE, "/tmp/file", False),  # noqa: S108 - asked about, not used
        ("change configuration in /etc", EffectKind.WRITE, "/etc/application.conf", False),
        ("delete data in /var/lib", EffectKind.DELETE, "/var/lib/application/data", True),
        ("start, stop or restart a service", EffectKind.SERVICE, service, False),
        ("ask the host's own loopback", EffectKind.NETWORK, "http://localhost/", False),
        ("reach out over the network", EffectKind.NETWORK, remote, False),
        ("install packages, change users or the kernel", EffectKind.SYSTEM, "apt-get: install", False),
        ("change accounts, sudo, SSH, cron", EffectKind.WRITE, "/etc/sudoers", False),
    )
    call = Call("explain", principal.name, "shell_run", host.name, {})
    yield "run a command that only reads", call, Effects(programs=("ls",))
    for label, kind, target, recursive in probes:
        yield label, call, Effects(inferred=(Effect(kind, target, "tool", recursive=recursive),))
    yield "run what cannot be read (scripts, interpreters)", call, Effects(opaque=("a script",))
    yield "become another user (sudo)", call, Effects(programs=("sudo",), privileged=True)
    low = replace(call, confidence=Confidence.LOW)
    changed = Effects(inferred=(Effect(EffectKind.WRITE, f"{place}/file", "tool"),))
    yield "change something with confidence low", low, changed
