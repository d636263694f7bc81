"""`interlock approvals`: what waits for a person, and the person's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from interlock.cli.asking import as_json, ask, with_config

STATES = ("pending", "approved", "denied", "expired", "used", "withdrawn", "all")


@click.group()
def approvals() -> None:
    """See what waits for a person, and approve or deny it."""


@approvals.command("list")
@click.option("--state", type=click.Choice(STATES), default="pending", show_default=True, help="Which ones.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="How many at most.")
@as_json
@with_config
def list_(state: str, limit: int, in_json: bool, config: Path | None) -> None:
    """The newest approvals."""
    from interlock.cli.printing import Escaped, print_json, print_table, until

    rows = ask(config, "approvals.list", state="" if state == "all" else state, limit=limit)
    if in_json:
        print_json(rows)
        return
    print_table(
        ("id", "state", "role", "caller", "tool", "host", "time left", "intent"),
        [
            (
                row["approval_id"],
                row["state"],
                row["role"],
                row["principal"],
                row["tool"],
                row["host"],
                until(row["approve_by"]) if row["state"] == "pending" else "",
                Escaped(next(iter(_said(row["summary"], "intent")), "")),
            )
            for row in rows
        ],
        "Nothing waits for a person.",
    )


@approvals.command()
@click.argument("approval_id")
@as_json
@with_config
def show(approval_id: str, in_json: bool, config: Path | None) -> None:
    """One approval, with the whole call it is bound to."""
    from interlock.cli.printing import Escaped, print_fields, print_json, when

    found = ask(config, "approvals.show", approval_id=approval_id)
    if in_json:
        print_json(found)
        return
    row, call = found["approval"], found["call"] or {}

    def said(name: str) -> list[str]:
        return [Escaped(value) for value in _said(row["summary"], name)]

    print_fields(
        {
            "approval": row["approval_id"],
            "state": row["state"],
            "needs": f"a person as {row['role']}",
            "call": row["call_id"],
            "tool": row["tool"],
            "host": said("host") or row["host"],
            "caller": row["principal"],
            "rules": said("rule") or ", ".join(call.get("rules", [])),
            "would": said("would") or _effects(call),
            "unreadable": said("unreadable"),
            "unknown programs": said("unknown program"),
            "intent": call.get("intent", ""),
            **{
                f"  {name}": value
                for name, value in call.get("arguments", {}).items()
                if name not in ("intent", "host")
            },
            "approve by": when(row["approve_by"]),
            "decided by": row["decided_by"],
            "reason": row["reason"],
        }
    )


@approvals.command()
@click.argument("approval_id")
@click.option("--reason", default="", help="Why; it stays on record.")
@as_json
@with_config
def approve(approval_id: str, reason: str, in_json: bool, config: Path | None) -> None:
    """Approve exactly this call; it then runs by itself, once."""
    _decide(config, approval_id, approve=True, reason=reason, in_json=in_json)


@approvals.command()
@click.argument("approval_id")
@click.option("--reason", required=True, help="Why; the agent is told, and it stays on record.")
@as_json
@with_config
def deny(approval_id: str, reason: str, in_json: bool, config: Path | None) -> None:
    """Deny this call; it never runs."""
    _decide(config, approval_id, approve=False, reason=reason, in_json=in_json)


def _decide(config: Path | None, approval_id: str, *, approve: bool, reason: str, in_json: bool) -> None:
    from interlock.cli.printing import one_line, print_json

    found = ask(config, "approvals.decide", approval_id=approval_id, approve=approve, reason=reason)
    if in_json:
        print_json(found)
        return
    row, call = found["approval"], found["call"] or {}
    state = call.get("state", "")
    plainly = f"the call {state}" if state in ("succeeded", "failed") else f"the call is {state}"
    after = "it runs now" if approve and state in ("awaiting_approval", "running") else plainly
    click.echo(
        one_line(f"{'Approved' if approve else 'Denied'} {row['approval_id']} (call {row['call_id']}): {after}.")
    )


def _said(summary: str, name: str) -> list[str]:
    """Every value of this name in the summary, which is one escaped line a value."""
    lines = (line.partition(": ") for line in summary.split("\n"))
    return [value for key, _, value in lines if key == name]


def _effects(call: dict[str, Any]) -> list[str]:
    found = call.get("effects", {}).get("inferred", [])
    return [f"{effect['kind']} {effect['target']}" for effect in found]
