"""`interlock hosts`: which hosts there are, and trusting a host's key, which only a person does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from interlock.cli.asking import as_json, ask, with_config, with_owner
from interlock.cli.ending import REFUSED, Ending, typed


@click.group()
def hosts() -> None:
    """The hosts, and which of their keys are trusted."""


@hosts.command("list")
@as_json
@with_config
def list_(in_json: bool, config: Path | None) -> None:
    """Every host with its labels and groups."""
    from interlock.cli.printing import print_json, print_table

    rows = ask(config, "hosts.list")
    if in_json:
        print_json(rows)
        return
    print_table(
        ("host", "address", "user", "labels", "groups", "jump", "left alone"),
        [
            (
                row["name"],
                "inside this process" if row["embedded"] else row["address"],
                f"{row['user']} → {row['become']}" if row["become"] else row["user"],
                " ".join(f"{name}={value}" for name, value in row["labels"].items()),
                " ".join(row["groups"]),
                row["jump"],
                " ".join(row["broken"]),
            )
            for row in rows
        ],
        "There is no host.",
    )


@hosts.command()
@click.argument("name")
@click.option(
    "--fingerprint", "fingerprints", multiple=True, help="SHA256:… that was compared elsewhere; then nothing is asked."
)
@as_json
@with_config
def trust(name: str, fingerprints: tuple[str, ...], in_json: bool, config: Path | None) -> None:
    """Trust the key a host shows, after a person compared its fingerprint.

    On the host itself, 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints the fingerprint to compare.
    """
    from interlock.cli.printing import one_line, print_json

    if not fingerprints and (in_json or not sys.stdin.isatty()):
        hint = "--fingerprint SHA256:…, or run it in a terminal"
        raise Ending(REFUSED, typed("NOT_CONFIRMED", "nobody can confirm the fingerprint here", hint))

    async def confirm(caller: Any) -> Any:
        wanted = list(fingerprints)
        if not wanted:
            wanted = _compared(name, await caller.call("hosts.shown", host=name))
        return await caller.call("hosts.trust", host=name, fingerprints=wanted)

    done = with_owner(config, confirm)
    if in_json:
        print_json(done)
        return
    click.echo(one_line(f"Trusted for {done['host']}: {', '.join(done['trusted'])} (in {done['file']})."))


def _compared(name: str, keys: list[dict[str, Any]]) -> list[str]:
    """The fingerprints of the keys, confirmed by a person who typed yes. Raises Ending where they did not."""
    from interlock.cli.printing import one_line, print_table

    rows = [(key["algorithm"], key["fingerprint"], "trusted" if key["trusted"] else "") for key in keys]
    print_table(("key", "fingerprint", ""), rows, "It shows no key.")
    if not keys:
        raise Ending(REFUSED, typed("HOST_KEY_MISMATCH", f"{name} shows no key"))
    click.echo(one_line(f"Compare with what {name} itself, or whoever runs it, says these are."))
    if click.prompt("Trust these keys? Type yes", default="no", show_default=False).strip().lower() != "yes":
        raise Ending(REFUSED, typed("NOT_CONFIRMED", "nothing was trusted"))
    return [key["fingerprint"] for key in keys]
