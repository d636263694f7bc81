"""`interlock trace` and `interlock scores`: the record, to read, to take away, to verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from interlock.cli.asking import as_json, ask, with_config, with_owner
from interlock.cli.ending import NO, Ending, typed

if TYPE_CHECKING:
    from rich.tree import Tree

    from interlock.control.reach import Caller

VALUE_CHARS_MAX = 600
REASON_CHARS_MAX = 8_000


@click.group()
def trace() -> None:
    """The record of every call."""


@trace.command("list")
@click.option("--principal", default="", help="Only this caller's.")
@click.option("--host", default="", help="Only this host's.")
@click.option("--state", default="", help="Only those in this state.")
@click.option("--before", type=click.IntRange(0), default=0, help="Only those before this number (paging).")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at most.")
@as_json
@with_config
def list_(principal: str, host: str, state: str, before: int, limit: int, in_json: bool, config: Path | None) -> None:
    """The newest calls first."""
    from interlock.cli.printing import print_json, print_table, took, when

    rows = ask(config, "trace.list", principal=principal, host=host, state=state, before_seq=before, limit=limit)
    if in_json:
        print_json(rows)
        return
    print_table(
        ("no", "when", "call", "caller", "tool", "host", "verdict", "state", "code", "took"),
        [
            (
                row["seq"],
                when(row["created"]),
                row["call_id"],
                row["principal"],
                row["tool"],
                row["host"],
                row["verdict"] or "–",
                row["state"],
                row["code"],
                took(row["settled"] - row["created"]) if row["settled"] else "",
            )
            for row in rows
        ],
        "There is no such call on record.",
    )


@trace.command()
@click.argument("call_id")
@as_json
@with_config
def show(call_id: str, in_json: bool, config: Path | None) -> None:
    """One call as a tree of its steps, with times."""
    from interlock.cli.printing import console, print_json

    row = ask(config, "trace.show", call_id=call_id)
    if in_json:
        print_json(row)
        return
    console().print(tree_of(row), soft_wrap=False)


def tree_of(row: dict[str, Any]) -> Tree:
    """A recorded call, drawn: what was asked, what was decided, each step with its time, how it ended."""
    from rich.text import Text
    from rich.tree import Tree

    from interlock.cli.printing import one_line, share, style_of, took, when

    def line(*parts: Any, style: str = "") -> Text:
        return Text(" ".join(shown for part in parts if (shown := one_line(part, VALUE_CHARS_MAX))), style=style)

    tree = Tree(line(row["tool"], "on", row["host"] or "(no host)", row["call_id"], style="bold"))
    tree.add(line("asked by", row["principal"], "at", when(row["created"]), f"session {row['session']}"))
    if row["intent"]:
        tree.add(line("intent:", row["intent"]))
    asked = tree.add(line("arguments"))
    for name, value in row["arguments"].items():
        if value not in ("", None, [], {}):
            asked.add(line(f"{name}:", value))
    verdict = ("verdict", row["verdict"], f"{row['cost_units']} units") if row["verdict"] else ("not decided",)
    decided = tree.add(line(*verdict, style=style_of(row["verdict"])))
    for rule in row["rules"]:
        decided.add(line(rule))
    if row["spans"]:
        began = min(span["started"] for span in row["spans"])
        steps = tree.add(line("steps"))
        for span in row["spans"]:
            label = f"+{took(max(0.0, span['started'] - began))}"
            step = steps.add(line(f"{span['step']:<10}", took(span["seconds"]), f"({label})"))
            for name, value in span["attributes"].items():
                step.add(line(f"{name}:", value))
    envelope = row["envelope"] or {}
    ended = tree.add(line("ended", row["state"], row["code"], when(row["settled"]), style=style_of(row["state"])))
    if envelope.get("error"):
        ended.add(Text(one_line(envelope["error"]["message"], REASON_CHARS_MAX)))
    for check in envelope.get("verified", []):
        ended.add(line("✓" if check["passed"] else "✗", check["check"], check["target"], check["detail"]))
    scores = (("validity", row["validity"]), ("success", row["success"]), ("side effects", row["side_effects"]))
    tree.add(line("scores", ", ".join(f"{name} {share(value)}" for name, value in scores)))
    return tree


@trace.command()
@click.option("--after", type=click.IntRange(0), default=0, help="Only calls after this number.")
@with_config
def export(after: int, config: Path | None) -> None:
    """Every call as JSON lines, oldest first, on standard output."""

    async def pages(caller: Caller) -> None:
        following = after
        while True:
            page = await caller.call("trace.export", after_seq=following)
            for row in page["calls"]:
                click.echo(json.dumps(row, ensure_ascii=True))
            following = page["next"]
            if not following:
                return

    with_owner(config, pages)


@trace.command()
@click.option("--head", "heads", multiple=True, help="A head that an earlier run printed and that was kept elsewhere.")
@as_json
@with_config
def verify(heads: tuple[str, ...], in_json: bool, config: Path | None) -> None:
    """Walk the audit chain and say whether anything was edited, removed or cut off."""
    from interlock.cli.printing import print_json

    found = ask(config, "trace.verify", heads=list(heads))
    verification = found["verification"]
    if in_json:
        print_json(found)
    elif verification["ok"]:
        click.echo(f"The record is whole: {verification['records']} records, every one linked, the head signed.")
        if found["head"]:
            click.echo("Keep this head off this machine, and give it back with --head later:")
            click.echo(found["head"])
    if not verification["ok"]:
        at = f" at record {verification['at']}" if verification["at"] else ""
        raise Ending(NO, typed("RECORD_BROKEN", f"{verification['reason']}{at}", "do not trust what comes after it"))


@click.command()
@click.option("--principal", default="", help="Only this caller's.")
@as_json
@with_config
def scores(principal: str, in_json: bool, config: Path | None) -> None:
    """How well calls went, per caller, tool and environment."""
    from interlock.cli.printing import print_json, print_table, share

    rows = ask(config, "scores.list", principal=principal)
    if in_json:
        print_json(rows)
        return
    print_table(
        ("caller", "tool", "environment", "calls", "validity", "success", "side effects"),
        [
            (
                row["principal"],
                row["tool"],
                row["environment"] or "(none)",
                row["calls"],
                share(row["validity"]),
                share(row["success"]),
                share(row["side_effects"]),
            )
            for row in rows
        ],
        "Nothing was measured yet.",
    )
