"""The catalog: every tool as one principal sees it, and the way from a name and arguments to a call or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from interlock_tools.accept import Acceptor
from interlock_tools.apps import App
from interlock_tools.call import Call
from interlock_tools.calls import call_tools
from interlock_tools.closest import closest, suggestions
from interlock_tools.deploy import deploy_tools
from interlock_tools.envelope import OUTPUT_SCHEMA
from interlock_tools.errors import ArgumentInvalid, Recovery, Refusal
from interlock_tools.fields import object_schema
from interlock_tools.file_changes import changing_file_tools
from interlock_tools.file_reads import reading_file_tools
from interlock_tools.hosts import host_tools
from interlock_tools.repair import Surroundings
from interlock_tools.shared import FieldLimits, Inventory
from interlock_tools.shell import shell_tools
from interlock_tools.tool import Contract, Hints, Tool
from interlock_tools.values import weigh

__all__ = ["Catalog", "Contract", "FieldLimits", "Hints", "Tool", "build_catalog"]


class Catalog:
    """The tools of one principal. Build it once per inventory; it holds no state of its own afterwards."""

    def __init__(self, tools: Sequence[Tool], surroundings: Surroundings, total_chars_max: int) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._acceptors = {tool.name: Acceptor(tool, surroundings, total_chars_max) for tool in tools}
        self._total_chars_max = total_chars_max
        self._contracts = tuple(_contract(tool) for tool in tools)

    def contracts(self) -> tuple[Contract, ...]:
        """Every tool as a client sees it, in a fixed order."""
        return self._contracts

    def tool(self, name: str) -> Tool:
        """The tool of this name; a KeyError where there is none (an accepted call's tool always exists)."""
        return self._tools[name]

    def accept(self, tool: str, arguments: object, *, call_id: str, principal: str) -> Call | Refusal:
        """A complete, normalised call, or a refusal whose recovery a program can apply. Never raises, asks nobody."""
        acceptor = self._acceptors.get(tool)
        if acceptor is not None:
            return acceptor.accept(arguments, call_id=call_id, principal=principal)
        names = tuple(self._tools)
        found = closest(tool, names)
        sent = {} if arguments is None else arguments
        step = Recovery.ask("Which tool was meant cannot be derived; the list of tools has them all.")
        if found is not None and isinstance(sent, dict) and weigh(sent, self._total_chars_max) is None:
            step = Recovery.use(found, sent, "It is the only tool with a name this close.")
        shown = suggestions(tool, names) or names
        return ArgumentInvalid(path="tool", reason="there is no tool of this name", allowed=shown, recovery=step)


def _contract(tool: Tool) -> Contract:
    return Contract(tool.name, tool.title, tool.description, object_schema(tool.fields), OUTPUT_SCHEMA, tool.hints)


def build_catalog(
    *,
    hosts: Sequence[str],
    groups: Sequence[str],
    services: Sequence[str] = (),
    apps: Sequence[App] = (),
    cwd_of: Callable[[str], str] = lambda _: "",
    home_of: Callable[[str], str] = lambda _: "",
    limits: FieldLimits | None = None,
) -> Catalog:
    """Every tool over these hosts, groups, services and apps: those that the principal may see.

    `cwd_of` and `home_of` give a host's directories where they are known, else ""; relative paths are mended with them.
    """
    inventory = Inventory(tuple(hosts), tuple(groups), tuple(services))
    bounds = limits or FieldLimits()
    acting = (
        *shell_tools(inventory, bounds),
        *reading_file_tools(inventory, bounds),
        *changing_file_tools(inventory, bounds),
        *deploy_tools(apps, inventory.hosts, bounds),
    )
    tools = (*host_tools(), *call_tools([tool.name for tool in acting], bounds), *acting)
    return Catalog(tools, Surroundings(inventory.hosts, cwd_of, home_of), bounds.total_chars_max)
