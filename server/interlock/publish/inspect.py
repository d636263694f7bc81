"""Inspection: what a client will be shown, and what some client would refuse of it. It prints nothing itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from interlock_tools.call import Json
from interlock_tools.catalog import Contract, Hints
from interlock_tools.lint import CATALOG_CHARS_MAX, Problem, lint_all, wire_chars

TABLE_CHARS_WIDE = 120


@dataclass(frozen=True, slots=True)
class Report:
    """Contracts with everything that lint found, ready to be shown."""

    contracts: tuple[Contract, ...]
    problems: tuple[Problem, ...]

    @property
    def broken(self) -> bool:
        """True where some client would refuse something."""
        return bool(self.problems)

    @property
    def chars(self) -> int:
        """How many characters all contracts together take of a model's context."""
        return sum(map(wire_chars, self.contracts))

    def as_json(self) -> str:
        """One object: tools (with schemas, hints and size), chars, problems, broken."""
        tools = [
            {
                "name": contract.name,
                "title": contract.title,
                "description": contract.description,
                "hints": asdict(contract.hints),
                "input_schema": contract.input_schema,
                "output_schema": contract.output_schema,
                "chars": wire_chars(contract),
            }
            for contract in self.contracts
        ]
        problems = [asdict(problem) for problem in self.problems]
        whole = {"tools": tools, "chars": self.chars, "problems": problems, "broken": self.broken}
        return json.dumps(whole, indent=2, ensure_ascii=False)

    def as_table(self, wide: int = TABLE_CHARS_WIDE) -> str:
        """A table of tools, `wide` characters wide, then every problem, then one line that sums it up."""
        found = [f"{problem.tool or 'all tools'} {problem.path}: {problem.text}" for problem in self.problems]
        return "\n".join([_table(self.contracts, wide), *found, self._sum()])

    def _sum(self) -> str:
        verdict = f"{len(self.problems)} problems" if self.broken else "every client accepts them"
        return f"{len(self.contracts)} tools, {self.chars} of {CATALOG_CHARS_MAX} characters: {verdict}."


def inspect_contracts(contracts: Sequence[Contract]) -> Report:
    """Lint these contracts, each and together."""
    return Report(tuple(contracts), lint_all(contracts))


def _table(contracts: Sequence[Contract], wide: int) -> str:
    from rich.console import Console  # a second of nobody's start-up: only `interlock inspect` draws
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True)
    for name in ("tool", "arguments (* required)", "hints", "characters"):
        table.add_column(name, justify="right" if name == "characters" else "left", overflow="fold")
    for contract in contracts:
        cells = (contract.name, _arguments(contract.input_schema), _hints(contract.hints), str(wire_chars(contract)))
        table.add_row(*map(Text, cells))
    console = Console(width=wide, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")


def _arguments(schema: Json) -> str:
    required = schema.get("required", ())
    return ", ".join(f"{name}{'*' if name in required else ''}" for name in schema.get("properties", {}))


def _hints(hints: Hints) -> str:
    said = ["reads only" if hints.read_only else "destructive" if hints.destructive else "changes"]
    said += ["idempotent"] if hints.idempotent else []
    said += ["open world"] if hints.open_world else []
    return ", ".join(said)
