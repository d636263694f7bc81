"""`interlock inspect`: every tool's contract as a client sees it, and what some client would refuse of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from interlock.cli.asking import as_json, settings_of, with_config
from interlock.cli.ending import NO, UNKNOWN, Ending, typed


@click.command()
@click.option("--principal", default="", help="As this principal sees them; else as the default one.")
@as_json
@with_config
def inspect(principal: str, in_json: bool, config: Path | None) -> None:
    """Show every tool's contract; fails where one is broken."""
    from interlock.catalogs import Catalogs
    from interlock.publish.inspect import inspect_contracts

    settings = settings_of(config)
    caller = principal or settings.default_principal
    if caller not in settings.principals:
        hint = f"--principal, one of: {', '.join(settings.principals)}"
        wrong = f"there is no principal `{caller}`" if caller else "it is not said for which principal"
        raise Ending(UNKNOWN, typed("PRINCIPAL_UNKNOWN", wrong, hint))
    report = inspect_contracts(Catalogs(settings).catalog(caller).contracts())
    if in_json:
        click.echo(report.as_json())
    elif sys.stdout.isatty():
        click.echo(report.as_table(shutil.get_terminal_size().columns))
    else:
        click.echo(report.as_table())
    if report.broken:
        raise Ending(NO, typed("CONTRACT_BROKEN", f"{len(report.problems)} problems", "they are listed above"))
