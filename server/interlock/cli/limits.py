"""`interlock budget` and `unpause`: what is left of a day's units, and ending the pause of a session in a loop."""

from __future__ import annotations

from pathlib import Path

import click

from interlock.cli.asking import as_json, ask, with_config


@click.command()
@click.argument("principal", default="")
@as_json
@with_config
def budget(principal: str, in_json: bool, config: Path | None) -> None:
    """Units left today, for PRINCIPAL or for every caller."""
    from interlock.cli.printing import print_json, print_table

    rows = ask(config, "budget", principal=principal)
    if in_json:
        print_json(rows)
        return
    print_table(
        ("caller", "day (UTC)", "units left", "of"),
        [(row["principal"], row["day"], row["units_left"], row["units_per_day"]) for row in rows],
        "There is no caller.",
    )


@click.command()
@click.argument("principal")
@click.argument("session")
@as_json
@with_config
def unpause(principal: str, session: str, in_json: bool, config: Path | None) -> None:
    """End the pause of a session that went round in a loop ('interlock trace show' names a call's session)."""
    from interlock.cli.printing import one_line, print_json

    done = ask(config, "unpause", principal=principal, session=session)
    if in_json:
        print_json(done)
        return
    click.echo(one_line(f"{done['principal']} goes on in session {done['session']}."))
