"""The fields that acting tools share, each written exactly once (the contract's table), and their limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from interlock_tools.declare import PATH_CHARS_MAX, choice, number, text, texts
from interlock_tools.fields import ANY_PREFIX, Field, Form, Kind, fits_inline

INTENT_CHARS_MIN, INTENT_CHARS_MAX = 3, 500

# Words that clients use for "show me first": they must become `preview`, never `apply`.
PREVIEW_WORDS = frozenset(
    {
        *("dry_run", "dryrun", "dry", "preview", "preview_only", "simulate", "simulation", "simulated", "pretend"),
        *("check", "check_only", "check_mode", "noop", "no_op", "what_if", "whatif", "rehearse", "rehearsal"),
        *("plan", "plan_only", "test_run", "test_only", "read_only", "readonly", "no_execute", "just_print"),
    }
)
PATH_CHECKS = ("path_exists", "path_absent", "path_contains", "path_sha256")
STATE_CHECKS = (*PATH_CHECKS, "service_active", "port_open", "http_ok", "command_ok")
CHECKS = ("exit_code", *STATE_CHECKS)  # only a command has an exit code


@dataclass(frozen=True, slots=True)
class FieldLimits:
    """How large arguments may be; the unit stands last in the name."""

    timeout_seconds_max: int = 3_600
    wait_seconds_max: int = 300
    command_chars_max: int = 16 * 1024
    stdin_chars_max: int = 256 * 1024
    edit_chars_max: int = 256 * 1024
    file_bytes_max: int = 8 * 1024 * 1024
    total_chars_max: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one principal may name: hosts, groups of hosts, services."""

    hosts: tuple[str, ...]
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def host_field(inventory: Inventory, *, any_member: bool) -> Field:
    """Where the call runs. `any_member`: a group may be named too, for calls that only read."""
    groups = tuple(ANY_PREFIX + group for group in inventory.groups) if any_member else ()
    choices = (*inventory.hosts, *groups)
    inline = fits_inline(choices)
    words = "Where." if inline else "Where; names: hosts_list."
    if groups:
        words += " any: only to read."
    return choice(
        "host", words, choices, "hostname", "server", "machine", "node", "target_host", "host_name", published=inline
    )


def intent_field(*, required: bool, words: str = "Why.") -> Field:
    """Why, in the agent's words."""
    return text(
        "intent",
        words,
        *("reason", "why", "purpose", "description", "explanation", "justification", "rationale", "goal"),
        form=Form.PROSE,
        required=required,
        chars_min=INTENT_CHARS_MIN,
        chars_max=INTENT_CHARS_MAX,
    )


def changed_path_fields(writes: str, deletes: str) -> tuple[Field, ...]:
    """The paths that a call may change, where the caller has to say it."""
    return (_paths("writes", writes, "write"), _paths("deletes", deletes, "delete", "removes"))


def declared_fields(inventory: Inventory) -> tuple[Field, ...]:
    """The expected effect, where the caller has to say it."""
    reach = {"true": "outbound", "yes": "outbound", "false": "none", "no": "none", "off": "none"}
    return (
        *changed_path_fields("Absolute; may be created or changed.", "Absolute; may be deleted."),
        texts(
            "services",
            "It may start, stop, restart.",
            *("service", "units"),
            form=Form.SERVICE,
            chars_max=256,
            items_max=50,
            choices=inventory.services,
        ),
        choice("network", "May it reach out?", ("none", "outbound"), default="none", means=reach),
        # No name like "read" or "inputs": what needs no declaration must not become a request for secrets.
        _paths("reads", "Secrets it must see; a human decides.", "secrets"),
    )


def _paths(name: str, words: str, *also: str) -> Field:
    return texts(name, words, *also, form=Form.PATH, chars_max=PATH_CHARS_MAX, items_max=100)


def verify_field(checks: tuple[str, ...]) -> Field:
    """Postconditions, measured after the call. What `target` and `expected` have to be depends on `check`."""
    # The list is long and every changing tool takes it: shell_run prints it for all of them.
    printed = "exit_code" in checks
    kind = choice("check", "Kind." if printed else "As in shell_run.", checks, published=printed)
    target = text("target", "Path, unit, port, URL.", "path", "url", form=Form.LINE, chars_max=PATH_CHARS_MAX)
    expected = text("expected", "Value.", "value", "expect", chars_max=10_000)
    aimed = replace(target, required=True, chars_min=1)
    a_path = replace(aimed, form=Form.PATH)
    variants = {
        "exit_code": (kind, target, replace(expected, form=Form.NUMBER, default="0")),
        "path_exists": (kind, a_path, expected),
        "path_absent": (kind, a_path, expected),
        "path_contains": (kind, a_path, replace(expected, required=True, chars_min=1)),
        "path_sha256": (kind, a_path, replace(expected, form=Form.SHA256, required=True)),
        "service_active": (kind, replace(aimed, form=Form.SERVICE), expected),
        "port_open": (kind, replace(aimed, form=Form.PORT), expected),
        "http_ok": (kind, replace(aimed, form=Form.URL), expected),
        "command_ok": (kind, replace(aimed, form=Form.PROSE), expected),
    }
    return Field(
        "verify",
        Kind.OBJECTS,
        "Postconditions.",
        items_max=20,
        fields=(kind, target, expected),
        variants=variants,
        also=("checks", "postconditions", "verification"),
    )


def certainty_fields() -> tuple[Field, ...]:
    """How sure the caller is."""
    levels, means = ("high", "medium", "low"), {"med": "medium", "moderate": "medium"}
    return (
        choice("confidence", "How sure.", levels, "certainty", default="high", means=means),
        texts("doubts", "Doubts.", "uncertainties", "concerns", form=Form.PROSE, chars_max=500, items_max=20),
    )


def mode_field() -> Field:
    """Land the effect, or only show it."""
    means = dict.fromkeys(PREVIEW_WORDS, "preview")
    return choice("mode", "preview: hold it.", ("apply", "preview"), default="apply", means=means)


def idempotency_field() -> Field:
    """A key under which a call is done once."""
    return text(
        "idempotency_key",
        "Once per key.",
        *("idempotency", "idempotency_token", "dedupe_key"),
        form=Form.LINE,
        chars_min=1,
        chars_max=200,
    )


def time_fields(limits: FieldLimits, seconds: int = 60) -> tuple[Field, ...]:
    """How long it may run (by default `seconds`), and how long the answer is waited for."""
    longest = limits.timeout_seconds_max
    aliases = ("timeout", "timeout_s", "timeout_sec", "timeout_secs", "max_seconds")
    return (
        number("timeout_seconds", "Run limit.", *aliases, default=min(seconds, longest), minimum=1, maximum=longest),
        wait_field(limits, "Then a handle.", min(50, limits.wait_seconds_max)),
    )


def wait_field(limits: FieldLimits, words: str, default: int) -> Field:
    """How long the answer is waited for."""
    return number("wait_seconds", words, "wait", "wait_s", "wait_sec", default=default, maximum=limits.wait_seconds_max)


def changing_fields(limits: FieldLimits, checks: tuple[str, ...] = CHECKS) -> tuple[Field, ...]:
    """What every tool that can change something takes, beside its own."""
    return (verify_field(checks), mode_field(), *certainty_fields(), idempotency_field(), *time_fields(limits))
