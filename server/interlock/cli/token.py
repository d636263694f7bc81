"""`interlock token`: bearer tokens for remote clients, each bound to a principal."""

from __future__ import annotations

from pathlib import Path

import click

from interlock.cli.asking import as_json, ask, with_config


@click.group()
def token() -> None:
    """Bearer tokens for clients that come over HTTP."""


@token.command()
@click.argument("principal")
@click.option("--label", default="", help="What it is for.")
@click.option("--days", type=click.IntRange(0, 3_660), default=90, show_default=True, help="0: it never expires.")
@as_json
@with_config
def create(principal: str, label: str, days: int, in_json: bool, config: Path | None) -> None:
    """A new token for a principal; it is shown this once."""
    from interlock.cli.printing import print_json, when

    made = ask(config, "token.create", principal=principal, label=label, days=days)
    if in_json:
        print_json(made)
        return
    click.echo(made["secret"])
    expires = when(made["token"]["expires"]) or "never"
    click.echo(
        f"Token {made['token']['token_id']} for {principal}, expires: {expires}. It is not shown again.", err=True
    )


@token.command("list")
@as_json
@with_config
def list_(in_json: bool, config: Path | None) -> None:
    """Every token, without its secret."""
    from interlock.cli.printing import print_json, print_table, when

    rows = ask(config, "token.list")
    if in_json:
        print_json(rows)
        return
    print_table(
        ("id", "principal", "label", "created", "expires", "last used", "revoked"),
        [
            (
                row["token_id"],
                row["principal"],
                row["label"],
                when(row["created"]),
                when(row["expires"]) or "never",
                when(row["last_used"]),
                when(row["revoked"]),
            )
            for row in rows
        ],
        "There is no token.",
    )


@token.command()
@click.argument("token_id")
@as_json
@with_config
def revoke(token_id: str, in_json: bool, config: Path | None) -> None:
    """Revoke a token for good."""
    from interlock.cli.printing import one_line, print_json

    row = ask(config, "token.revoke", token_id=token_id)
    if in_json:
        print_json(row)
        return
    click.echo(one_line(f"Revoked {row['token_id']} of {row['principal']}."))
