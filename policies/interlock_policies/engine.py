"""The engine: one verdict for one call, from Cedar. It fails closed: any error, or nothing matched, is DENY.

ASK is a counterfactual: denied now, and allowed as soon as a set of obligations is met by all of the call's questions
at once. Nothing is granted here; the step that carries a call out decides again with what was really granted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from interlock_policies.alike import asked_of
from interlock_policies.cedar import Answer, authorize
from interlock_policies.examples import check_examples
from interlock_policies.explain import Explanation, explain
from interlock_policies.facts import Decision, HostFacts, Level, Principal, Rule, Situation, Verdict
from interlock_policies.obligations import Alternative, combinations, granted
from interlock_policies.packs import PolicySource, shipped
from interlock_policies.questions import PROGRAMS_MAX, QUESTIONS_MAX, too_many
from interlock_policies.requests import Form, form
from interlock_policies.rulebook import LoadedRule, Rulebook, load_rulebook
from interlock_tools.call import Call
from interlock_tools.effects import Effects

REMEMBERED_MAX = 1_024
# So many measured changes are decided as any others; up to the second number an operator has to agree besides.
MEASURED_MAX = 5_000
MEASURED_ASKED_MAX = 20_000
_OPERATOR = "operator"

NOTHING_MATCHED = Rule(
    "interlock:nothing-matched", "Nothing permits this", "interlock://policy says what this principal may do."
)
TOO_MANY = Rule(
    "interlock:too-many-effects",
    f"The call has more than {QUESTIONS_MAX} effects or {PROGRAMS_MAX} programs",
    "Send it as several calls, each of which does less.",
)
TOO_MANY_MEASURED = Rule(
    "interlock:too-many-effects",
    f"It changed more than {MEASURED_MAX} paths",
    "An operator can agree to it as it was measured, or it is done in parts.",
    f"approval:{_OPERATOR}",
)
TOO_MANY_TO_DECIDE = Rule(
    "interlock:too-many-effects",
    f"It changed more paths than can be decided at once (at most {MEASURED_ASKED_MAX})",
    "Do it in parts, each of which changes less.",
)
NOT_CONTAINED = Rule(
    "interlock:containment-unavailable",
    "This host cannot contain the call as policy demands",
    "Another host may be able to; hosts_list tells which.",
)
ENGINE_ERROR = Rule(
    "interlock:engine-error", "The policy engine failed", "A human looks at the policy: 'interlock policy check'."
)
NOT_LIFTABLE = Rule("interlock:not-liftable", "No approval that can be given here would let this pass")


class PolicyEngine:
    """One loaded set of policies. It never changes; a new set is a new engine, and whoever holds it swaps it."""

    def __init__(self, book: Rulebook) -> None:
        self._book = book
        # Pure memory: the key is everything that Cedar is given, so a hit is what Cedar would say again.
        self._remembered: OrderedDict[tuple[str, ...], tuple[Answer, ...]] = OrderedDict()

    @classmethod
    def load(cls, sources: Sequence[PolicySource], *, schema_packs: Sequence[str] = ()) -> PolicyEngine:
        """The shipped packs of these names, then the sources, all or none, with every example passed.

        Raises PolicyFault(file, line, message, hint) at the first fault; KeyError for a pack that is not shipped.
        """
        book = load_rulebook([*(shipped(name) for name in schema_packs), *sources])
        engine = cls(book)
        check_examples(book, engine.decide)
        return engine

    @property
    def version(self) -> str:
        """SHA-256 (hex) over the schema and every policy text, in order."""
        return self._book.version

    def rules(self) -> tuple[LoadedRule, ...]:
        """Every loaded rule, in the order of the files."""
        return tuple(self._book.rules.values())

    def decide(
        self,
        principal: Principal,
        host: HostFacts,
        call: Call,
        effects: Effects,
        situation: Situation,
        *,
        measured: bool = False,
    ) -> Decision:
        """ALLOW, ASK with the cheapest obligations that would lift it, or DENY with the rules that decided.

        `effects` are expected resolved on the host. ALLOW never carries obligations. `measured`: the effects are what a
        host saw change (`effects.measured` says the same); every path is decided, and far more of them may be.
        """
        if not (measured or effects.measured):
            return self._decide(principal, host, call, effects, situation)
        effects = replace(effects, measured=True)
        changes = len(effects.inferred)
        if changes > (MEASURED_MAX if self._book.sight.whole else MEASURED_ASKED_MAX):
            return self._decision(Verdict.DENY, (TOO_MANY_TO_DECIDE,))
        decision = self._decide(principal, host, call, effects, situation)
        if changes <= MEASURED_MAX or _OPERATOR in situation.approvals or decision.verdict is Verdict.DENY:
            return decision
        rules = (TOO_MANY_MEASURED, *(decision.rules if decision.verdict is Verdict.ASK else ()))
        obligations = tuple(sorted({*decision.obligations, TOO_MANY_MEASURED.requires}))
        return self._decision(Verdict.ASK, rules, obligations=obligations)

    def _decide(
        self, principal: Principal, host: HostFacts, call: Call, effects: Effects, situation: Situation
    ) -> Decision:
        deferred = situation.defers and not effects.measured
        asked = asked_of(call, effects, host, self._book.sight, deferred=deferred)
        if too_many(asked, effects):
            return self._decision(Verdict.DENY, (TOO_MANY,))
        put = form(asked, principal, host, call, effects, deferred=deferred)
        answers = self.ask(put, situation)
        errors = tuple(dict.fromkeys(error for answer in answers for error in answer.errors))
        if errors or len(answers) != len(asked):
            return self._decision(Verdict.DENY, (ENGINE_ERROR,), errors=errors or ("an answer is missing",))
        denied = [answer for answer in answers if not answer.allowed]
        if not denied:
            return self._decision(Verdict.ALLOW, self._rules_of(answers))
        return self._lifted(put, host, situation, denied)

    def explain(
        self, principal: Principal, host: HostFacts, call: Call, effects: Effects, situation: Situation
    ) -> Explanation:
        """Why, effect by effect, and what would pass."""
        return explain(self, principal, host, call, effects, situation=situation)

    def ask(self, put: Form, situation: Situation) -> tuple[Answer, ...]:
        """Cedar's answers to all questions in this situation, in their order; a fault is an answer with errors."""
        if len(put.heads) > QUESTIONS_MAX:
            return authorize(self._book, put.requests(situation), put.entities)
        key = (put.key, *put.texts(situation))
        known = self._remembered.get(key)
        if known is None:
            known = authorize(self._book, put.requests(situation), put.entities)
            self._remembered[key] = known
            while len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return known

    def _lifted(self, put: Form, host: HostFacts, situation: Situation, denied: Sequence[Answer]) -> Decision:
        """ASK where one set of obligations lifts every denial together, else DENY."""
        rules = self._rules_of(denied)
        if any(not answer.reasons for answer in denied):
            return self._decision(
                Verdict.DENY, (*_hard(rules), NOTHING_MATCHED) if _hard(rules) else (NOTHING_MATCHED,)
            )
        if _hard(rules):
            return self._decision(Verdict.DENY, _hard(rules))
        obligations = self._enough(put, situation, self._candidates(denied, host))
        if obligations is not None:
            return self._decision(Verdict.ASK, rules, obligations=tuple(sorted(obligations)))
        able = replace(host, containment=tuple(level.word for level in Level))
        elsewhere = self._enough(put, situation, self._candidates(denied, able))
        return self._decision(Verdict.DENY, (*rules, NOT_LIFTABLE if elsewhere is None else NOT_CONTAINED))

    def _enough(self, put: Form, situation: Situation, candidates: Sequence[Alternative]) -> Alternative | None:
        """The first of these sets of obligations under which every question is allowed."""
        for obligations in candidates:
            if all(answer.allowed and not answer.errors for answer in self.ask(put, granted(situation, obligations))):
                return obligations
        return None

    def _candidates(self, denied: Sequence[Answer], host: HostFacts) -> tuple[Alternative, ...]:
        found = dict.fromkeys(reason for answer in denied for reason in answer.reasons)
        return combinations([self._book.rules[reason].alternatives for reason in found], host)

    def _rules_of(self, answers: Sequence[Answer]) -> tuple[Rule, ...]:
        """The rules behind these answers, each once: what nothing lifts first, then in the order of the files."""
        found = {reason for answer in answers for reason in answer.reasons}
        ordered = [entry.rule for policy_id, entry in self._book.rules.items() if policy_id in found]
        return tuple(sorted(ordered, key=lambda rule: bool(rule.requires)))

    def _decision(
        self,
        verdict: Verdict,
        rules: tuple[Rule, ...],
        *,
        obligations: tuple[str, ...] = (),
        errors: tuple[str, ...] = (),
    ) -> Decision:
        return Decision(verdict, rules, obligations, errors, self.version)


def _hard(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if not rule.requires)
