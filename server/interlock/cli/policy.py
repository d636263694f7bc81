"""`interlock policy`: does it load, does it decide what it should, and why was something decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from interlock.cli.asking import as_json, ask, settings_of, with_config
from interlock.cli.ending import NO, Ending, typed

CALL_PREFIX = "c_"


@click.group()
def policy() -> None:
    """The rules that decide."""


@policy.command()
@as_json
@with_config
def check(in_json: bool, config: Path | None) -> None:
    """Load the configuration and every rule, run the rules' own examples, say what is wrong and where."""
    from interlock.cli.printing import print_json
    from interlock.policy_files import PolicyFiles

    settings = settings_of(config)
    engine = PolicyFiles(settings).load()
    found = {"rules": len(engine.rules()), "version": engine.version, "packs": list(settings.packs)}
    if in_json:
        print_json(found)
        return
    click.echo(f"{found['rules']} rules load, and every example holds. Version {engine.version[:12]}.")


@policy.command("reload")
@as_json
@with_config
def reload_(in_json: bool, config: Path | None) -> None:
    """Make the running server load its policy files anew; where they are wrong, the old policy stays."""
    from interlock.cli.ending import CONFIGURATION
    from interlock.cli.printing import print_json

    found = ask(config, "policy.reload")
    if in_json:
        print_json(found)
    elif not found["fault"]:
        click.echo(f"The policy is loaded. Version {found['version'][:12]}.")
    if found["fault"]:
        raise Ending(CONFIGURATION, typed("POLICY", found["fault"], f"version {found['version'][:12]} stays in force"))


@policy.command("test")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@as_json
@with_config
def test_(files: tuple[Path, ...], in_json: bool, config: Path | None) -> None:
    """Run the rules' examples and the team's test files (those given, else every *.tests beside the policy files)."""
    from interlock.cli.printing import print_json
    from interlock.policy_files import PolicyFiles
    from interlock.policy_tests import beside, run_tests
    from interlock_policies.examples import claims_of

    settings = settings_of(config)
    engine = PolicyFiles(settings).load()
    examples = sum(len(claims_of(entry)) for entry in engine.rules())
    results = [run_tests(engine, path) for path in files or beside(settings.policy_files)]
    count, failed = sum(number for number, _ in results), [finding for _, found in results for finding in found]
    if in_json:
        shown = [{"file": f.file, "line": f.line, "text": f.text, "got": f.got} for f in failed]
        print_json({"examples": examples, "tests": count, "failed": shown})
    else:
        click.echo(f"{examples} examples hold. {count - len(failed)} of {count} tests in {len(results)} files hold.")
    if failed:
        lines = (typed("POLICY_TEST", f"{f.file}:{f.line}: {f.text}", f"got {f.got}") for f in failed)
        raise Ending(NO, *lines)


@policy.command()
@click.argument("tool", required=False)
@click.argument("arguments", required=False)
@click.option("--principal", default="", help="Who calls; else the default principal.")
@click.option("--host", default="", help="Where; instead of 'host' in the arguments.")
@as_json
@with_config
def explain(
    tool: str | None, arguments: str | None, principal: str, host: str, in_json: bool, config: Path | None
) -> None:
    """What would be decided on a call, and why; nothing runs and nothing is recorded.

    ARGUMENTS is the call's JSON object; for shell_run the command alone will do. With a call's id instead of TOOL, that
    recorded call is explained. Without TOOL, every rule in force is listed.
    """
    from interlock.cli.printing import print_json

    if tool is None:
        _list_rules(config, in_json=in_json)
        return
    if tool.startswith(CALL_PREFIX) and arguments is None:
        _explain_recorded(config, tool, in_json=in_json)
        return
    given = _arguments(tool, arguments)
    call = {**given, "host": host} if host else given
    found = ask(config, "policy.explain", tool=tool, arguments=call, principal=principal)
    if in_json:
        print_json(found)
        return
    _print_decision(found)


def _arguments(tool: str, arguments: str | None) -> dict[str, Any]:
    """The call's arguments; for shell_run what is no JSON object is the command."""
    try:
        given = json.loads(arguments or "{}")
    except ValueError:
        given = None
    if isinstance(given, dict):
        return given
    if tool == "shell_run":
        return {"command": arguments}
    raise click.BadParameter("not a JSON object", param_hint="ARGUMENTS")


def _explain_recorded(config: Path | None, call_id: str, *, in_json: bool) -> None:
    from interlock.cli.printing import print_fields, print_json

    found = ask(config, "policy.explain_call", call_id=call_id)
    if in_json:
        print_json(found)
        return
    now = found["now"]
    changed = now and (now["verdict"], [rule["id"] for rule in now["rules"]])
    then = (found["verdict"], [rule["id"] for rule in found["rules"]])
    today = "the same" if changed == then else " – ".join([changed[0], *changed[1]]) if changed else ""
    print_fields({"call": found["call_id"], "was": f"{found['tool']} on {found['host']}: {found['state']}"})
    _print_decision({**found, "obligations": [], "verdict": found["verdict"] or "not decided"})
    kept = "its arguments are not kept as they were, so it cannot be decided again"
    print_fields({"decided today": today or kept})


def _list_rules(config: Path | None, *, in_json: bool) -> None:
    from interlock.cli.printing import print_json, print_table
    from interlock.policy_files import PolicyFiles

    rules = [entry.rule for entry in PolicyFiles(settings_of(config)).load().rules()]
    if in_json:
        print_json([{"id": r.id, "title": r.title, "hint": r.hint, "requires": r.requires} for r in rules])
        return
    print_table(
        ("rule", "what it says", "lifted by"), [(rule.id, rule.title, rule.requires) for rule in rules], "No rule."
    )


def _print_decision(found: dict[str, Any]) -> None:
    from interlock.cli.printing import print_fields

    error = found.get("error") or {}
    effects = (found.get("effects") or {}).get("inferred", [])
    rules = [" – ".join(filter(None, (rule["id"], rule["title"], rule["hint"]))) for rule in found["rules"]]
    recovery = error.get("recovery") or {}
    print_fields(
        {
            "verdict": found["verdict"],
            "for": found["principal"],
            "rules": rules,
            "would pass with": ", ".join(found["obligations"]),
            "effects": [f"{effect['kind']} {effect['target']} (by {effect['by']})" for effect in effects],
            "cost": f"{found['cost_units']} units",
            "refused as": f"{error['code']}: {error['message']}" if error else "",
            "recovery": f"{recovery['action']}: {recovery['because']}" if recovery else "",
            "change": recovery.get("arguments") or "",
        }
    )
