"""The command line: one module a group of verbs. It never opens the store behind a running owner's back."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from interlock.cli.root import cli

    cli(prog_name="interlock")
