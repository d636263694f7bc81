"""The shell family: one command line on one host, with the effect its caller declares. It plans and runs nothing."""

from __future__ import annotations

from interlock_tools.declare import path, text
from interlock_tools.errors import ArgumentMissing, HostUnknown, Recovery
from interlock_tools.fields import ANY_PREFIX, Form
from interlock_tools.plan import Plan, RunCommand
from interlock_tools.shared import (
    FieldLimits,
    Inventory,
    changing_fields,
    declared_fields,
    host_field,
    intent_field,
)
from interlock_tools.tool import Arguments, Hints, Tool
from interlock_tools.values import Fault

_COMMAND_NAMES = ("cmd", "command_line", "commandline", "script", "shell_command", "bash", "argv", "code")
_CWD_NAMES = ("directory", "dir", "folder", "working_directory", "workdir", "working_dir", "workspace", "cd")


def shell_tools(inventory: Inventory, limits: FieldLimits) -> tuple[Tool, ...]:
    """shell_run."""
    fields = (
        host_field(inventory, any_member=True),
        text(
            "command",
            "Bash command line.",
            *_COMMAND_NAMES,
            form=Form.PROSE,
            required=True,
            chars_min=1,
            chars_max=limits.command_chars_max,
            published=True,
        ),
        path("cwd", "Absolute; default the host's own.", *_CWD_NAMES, required=False),
        text("stdin", "Standard input.", "input", chars_max=limits.stdin_chars_max),
        *declared_fields(inventory),
        intent_field(required=False, words="Why; required with a declaration."),
        *changing_fields(limits),
    )
    words = "Run one bash command. Undeclared changes are held, not done."
    hints = Hints(read_only=False, destructive=True, idempotent=False, open_world=True)
    return (Tool("shell_run", "Run command", words, fields, hints, _plan, review=_review, declares=True, runs=True),)


def _plan(arguments: Arguments) -> Plan:
    return RunCommand(arguments["command"], arguments["cwd"], arguments["stdin"])


def _review(arguments: Arguments) -> Fault | None:
    outbound = arguments["network"] == "outbound"
    changes = arguments["writes"] or arguments["deletes"] or arguments["services"] or outbound
    if (changes or arguments["reads"]) and not arguments["intent"]:
        return Fault(ArgumentMissing, "intent", "a call that declares an effect or wants a secret says why")
    if changes and arguments["host"].startswith(ANY_PREFIX):
        step = Recovery.use("hosts_list", {}, "A call that changes something names one host; this lists them.")
        return Fault(HostUnknown, "host", "a group is only for calls that read; name one host", step=step)
    return None
