"""`interlock stop`, `lift` and `reconcile`: the kill switch, and calls whose outcome nobody knows."""

from __future__ import annotations

from pathlib import Path

import click

from interlock.cli.asking import as_json, ask, with_config
from interlock.cli.ending import NO, REFUSED, Ending, typed

ENDINGS = ("succeeded", "failed", "cancelled")


@click.command()
@click.argument("scope", default="all")
@click.option("--reason", default="", help="Why; callers are told, and it stays on record.")
@click.option("--list", "only_list", is_flag=True, help="Only show what is stopped.")
@as_json
@with_config
def stop(scope: str, reason: str, only_list: bool, in_json: bool, config: Path | None) -> None:
    """Refuse every further call. SCOPE: all, principal:NAME or host:NAME."""
    from interlock.cli.printing import one_line, print_json, print_table, when

    if not only_list:
        row = ask(config, "stop", scope=scope, reason=reason)
        if in_json:
            print_json(row)
        else:
            click.echo(one_line(f"Stopped: {row['scope']}. 'interlock lift {row['scope']}' takes it back."))
        return
    rows = ask(config, "stops")
    if in_json:
        print_json(rows)
        return
    print_table(
        ("scope", "by", "since", "reason"),
        [(row["scope"], row["by"], when(row["stopped"]), row["reason"]) for row in rows],
        "Nothing is stopped.",
    )


@click.command()
@click.argument("scope", default="all")
@click.option("--reason", default="", help="Why; it stays on record.")
@as_json
@with_config
def lift(scope: str, reason: str, in_json: bool, config: Path | None) -> None:
    """Take a stop back. SCOPE as it was stopped."""
    from interlock.cli.printing import one_line, print_json

    row = ask(config, "lift", scope=scope, reason=reason)
    if in_json:
        print_json(row)
        return
    click.echo(one_line(f"Lifted: {row['scope']}."))


@click.command()
@click.argument("call_id", required=False)
@click.option("--as", "state", type=click.Choice(ENDINGS), help="What it turned out to be.")
@click.option("--end", "ends", is_flag=True, help="End what still runs on the host for it; its outcome stays unknown.")
@click.option("--reason", default="", help="How that was found out; it stays on record.")
@as_json
@with_config
def reconcile(
    call_id: str | None, state: str | None, ends: bool, reason: str, in_json: bool, config: Path | None
) -> None:
    """Calls whose outcome is unknown: list them, look at one, end what still runs for it, or settle it.

    Nothing is ever run again. With CALL_ID alone, what still runs for it is shown. Look at the host, then say what
    became of the call.
    """
    if call_id is None and (state is not None or ends):
        raise click.UsageError("--as and --end go with a CALL_ID; without one, the calls are listed.")
    if state is not None and ends:
        raise click.UsageError("First --end, then look, then --as.")
    if call_id is None:
        _list_unknown(config, in_json=in_json)
    elif state is not None:
        _settle(config, call_id, state, reason, in_json=in_json)
    else:
        _look_or_end(config, call_id, ends=ends, in_json=in_json)


def _settle(config: Path | None, call_id: str, state: str, reason: str, *, in_json: bool) -> None:
    from interlock.cli.printing import one_line, print_json

    row = ask(config, "reconcile.settle", call_id=call_id, state=state, reason=reason)
    if in_json:
        print_json(row)
    else:
        click.echo(one_line(f"Reconciled {row['call_id']}: {row['state']}."))


def _look_or_end(config: Path | None, call_id: str, *, ends: bool, in_json: bool) -> None:
    """Show what still runs for a call, or end it. Raises Ending where the host cannot be asked or something is left."""
    from interlock.cli.printing import one_line, print_json

    found = ask(config, "reconcile.end" if ends else "reconcile.show", call_id=call_id)
    call = found["call"]
    if in_json:
        print_json(found)
    elif not found["looked"]:
        running = ", ".join(map(str, found.get("processes", ()))) or "nothing that could be found"
        told = found["sentence"] if ends else f"still running: {running}"
        click.echo(one_line(f"{call['call_id']} on {call['host']}: {told}.", 1_000))
    if found["looked"]:
        raise Ending(REFUSED, typed("HOST_SILENT", found["looked"], f"interlock doctor looks at {call['host']}"))
    if found.get("left"):
        raise Ending(NO, typed("STILL_RUNNING", found["sentence"], "end them on the host"))


def _list_unknown(config: Path | None, *, in_json: bool) -> None:
    from interlock.cli.printing import print_json, print_table, when

    rows = ask(config, "reconcile.list")
    if in_json:
        print_json(rows)
        return
    print_table(
        ("call", "when", "caller", "tool", "host", "still running", "intent"),
        [
            (
                row["call"]["call_id"],
                when(row["call"]["created"]),
                row["call"]["principal"],
                row["call"]["tool"],
                row["call"]["host"],
                row["looked"] or ", ".join(map(str, row["processes"])) or "nothing",
                row["call"]["intent"],
            )
            for row in rows
        ],
        "Every outcome is known.",
    )
