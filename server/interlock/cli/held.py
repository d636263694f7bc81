"""`interlock held` and `interlock undo`: changes that wait on a host, and changes that can be taken back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from interlock.cli.asking import as_json, ask, with_config
from interlock.cli.ending import NO, Ending, typed

STATES = ("held", "landed", "undone", "discarded", "lost", "all")
PATHS_SHOWN_MAX = 50


@click.group()
def held() -> None:
    """See what calls would change, and land it or throw it away."""


@held.command("list")
@click.option("--state", type=click.Choice(STATES), default="held", show_default=True, help="Which ones.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="How many at most.")
@as_json
@with_config
def list_(state: str, limit: int, in_json: bool, config: Path | None) -> None:
    """The newest held changes; with --state landed, those that can be undone."""
    from interlock.cli.printing import print_json, print_table, until

    rows = ask(config, "held.list", state="" if state == "all" else state, limit=limit)
    if in_json:
        print_json(rows)
        return
    print_table(
        ("call", "state", "caller", "host", "paths", "time left"),
        [
            (
                row["layer"]["run_id"],
                row["layer"]["state"],
                row["layer"]["principal"],
                row["layer"]["host"],
                str(row["paths"]),
                _left(row["layer"], until),
            )
            for row in rows
        ],
        "Nothing is held." if state == "held" else "There is none.",
    )


def _left(layer: Mapping[str, Any], until: Any) -> str:
    if layer["state"] == "held":
        return str(until(layer["expires"]))
    return str(until(layer["undo_until"])) if layer["state"] == "landed" and layer["undo_until"] else ""


@held.command()
@click.argument("call_id")
@as_json
@with_config
def show(call_id: str, in_json: bool, config: Path | None) -> None:
    """What one call changed or would change: path by path, and text as a diff."""
    from interlock.cli.printing import Escaped, print_fields, print_json, when
    from interlock_tools.visible import visible

    found = ask(config, "held.show", call_id=call_id)
    if in_json:
        print_json(found)
        return
    layer, call = found["layer"], found["call"]
    paths = [_line(change) for change in layer["changes"][:PATHS_SHOWN_MAX]]
    more = len(layer["changes"]) - PATHS_SHOWN_MAX
    print_fields(
        {
            "call": layer["run_id"],
            "state": layer["state"],
            "host": layer["host"],
            "caller": layer["principal"],
            "intent": call["intent"],
            "changes": [*paths, *([f"and {more} more; --json has all"] if more > 0 else [])],
            "held until": when(layer["expires"]) if layer["state"] == "held" else "",
            "undo until": when(layer["undo_until"]) if layer["undo_until"] else "",
            "why not": layer["reason"],
        }
    )
    for line in found["diff"].splitlines():
        click.echo(Escaped(visible(line, 1_000)))


def _line(change: Mapping[str, Any]) -> str:
    below = f" with {change['below']} entries below" if change["below"] else ""
    return f"{change['op']} {change['kind']} {change['path']}{below} {change['detail']}".rstrip()


@held.command()
@click.argument("call_id")
@click.option("--reason", default="", help="Why; it stays on record.")
@as_json
@with_config
def land(call_id: str, reason: str, in_json: bool, config: Path | None) -> None:
    """Land exactly what is held. It is refused where something under it changed since."""
    _told(ask(config, "held.land", call_id=call_id, reason=reason), "Landed", in_json=in_json)


@held.command()
@click.argument("call_id")
@click.option("--reason", default="", help="Why; the agent is told, and it stays on record.")
@as_json
@with_config
def discard(call_id: str, reason: str, in_json: bool, config: Path | None) -> None:
    """Throw a held change away."""
    from interlock.cli.printing import one_line, print_json

    done = ask(config, "held.discard", call_id=call_id, reason=reason)
    if in_json:
        print_json(done)
    else:
        click.echo(one_line(f"Discarded: {done['call_id']}; nothing of it landed."))


@click.command()
@click.argument("call_id")
@click.option("--over-later-changes", "forced", is_flag=True, help="Put it back also where something changed since.")
@click.option("--reason", default="", help="Why; it stays on record.")
@as_json
@with_config
def undo(call_id: str, forced: bool, reason: str, in_json: bool, config: Path | None) -> None:
    """Put back what a call changed: content, mode, owner, times, links and absence."""
    done = ask(config, "held.undo", call_id=call_id, keep="ours" if forced else "", reason=reason)
    _told(done, "Undone", in_json=in_json)


def _told(envelope: Mapping[str, Any], what: str, *, in_json: bool) -> None:
    """Say how it ended. Raises Ending where it did not."""
    from interlock.cli.printing import one_line, print_json

    if in_json:
        print_json(envelope)
    if not envelope["ok"]:
        error = envelope["error"] or {"code": "FAILED", "message": envelope["state"], "recovery": {"because": ""}}
        raise Ending(NO, typed(error["code"], error["message"], error["recovery"]["because"]))
    if not in_json:
        click.echo(one_line(f"{what}: {envelope['result'].get('paths', 0)} paths (call {envelope['call_id']})."))
