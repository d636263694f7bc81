"""The engine: one verdict for one call, from Cedar. It fails closed: any error, or nothing matched, is DENY.

ASK is a counterfactual: denied now, and allowed as soon as a set of obligations is met by all of the call's questions
at once. Nothing is granted here; the step that carries a call out decides again with what was really granted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from interlock_policies.cedar import Answer, authorize
from interlock_policies.examples import check_examples
from interlock_policies.explain import Explanation, explain
from interlock_policies.facts import Decision, HostFacts, Principal, Rule, Situation, Verdict
from interlock_policies.obligations import Alternative, combinations, granted
from interlock_policies.packs import PolicySource, shipped
from interlock_policies.questions import PROGRAMS_MAX, QUESTIONS_MAX, Form, form, questions, too_many
from interlock_policies.rulebook import LoadedRule, Rulebook, load_rulebook
from interlock_tools.call import Call
from interlock_tools.effects import Effects

REMEMBERED_MAX = 1_024

NOTHING_MATCHED = Rule(
    "interlock:nothing-matched", "Nothing permits this", "interlock://policy says what this principal may do."
)
TOO_MANY = Rule(
    "interlock:too-many-effects",
    f"The call has more than {QUESTIONS_MAX} effects or {PROGRAMS_MAX} programs",
    "Send it as several calls, each of which does less.",
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
        self, principal: Principal, host: HostFacts, call: Call, effects: Effects, situation: Situation
    ) -> Decision:
        """ALLOW, ASK with the cheapest obligations that would lift it, or DENY with the rules that decided.

        `effects` are expected resolved on the host. ALLOW never carries obligations.
        """
        asked = questions(call, effects, host)
        if too_many(asked, effects):
            return self._decision(Verdict.DENY, (TOO_MANY,))
        put = form(asked, principal, host, call, effects)
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
        requests = put.requests(situation)
        key = (put.key, *(request["context"] for request in requests))
        known = self._remembered.get(key)
        if known is None:
            known = authorize(self._book, requests, put.entities)
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
        for obligations in self._candidates(denied, host):
            if all(answer.allowed and not answer.errors for answer in self.ask(put, granted(situation, obligations))):
                return self._decision(Verdict.ASK, rules, obligations=tuple(sorted(obligations)))
        return self._decision(Verdict.DENY, (*rules, NOT_LIFTABLE))

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
