"""`interlock deploy`: the fleet drawn in a terminal: what runs where, how a roll-out went, what one would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from interlock.cli.asking import as_json, ask, with_config
from interlock.cli.ending import NO, Ending, typed

RELEASES_SHOWN_MAX = 5
ALLOWED_SHOWN_MAX = 5


@click.group()
def deploy() -> None:
    """The apps that can be deployed, and their roll-outs. Nothing here changes a host."""


@deploy.command("list")
@as_json
@with_config
def list_(in_json: bool, config: Path | None) -> None:
    """Every app, host by host: what is live, whether it is healthy, what else is kept, what is being rolled out."""
    from interlock.cli.printing import print_json, print_table

    apps = ask(config, "deploy.list")
    if in_json:
        print_json(apps)
        return
    print_table(
        ("app", "host", "live", "health", "kept", "roll-out"),
        [row for app in apps for row in _rows(app)],
        "No app is configured: [apps.NAME] in interlock.toml names what can be deployed.",
    )


def _rows(app: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rolling = app["rolling_out"] or {"hosts": []}
    going = {entry["host"]: f"{rolling['release']}: {entry['step'] or 'waits'}" for entry in rolling["hosts"]}
    rows: list[tuple[str, ...]] = []
    for number, host in enumerate(app["hosts"]):
        others = [kept["release"] for kept in host["kept"] if kept["release"] != host["live"]]
        shown = " ".join(others[:RELEASES_SHOWN_MAX])
        name = app["app"] if number == 0 else ""
        rows.append(
            (name, host["host"], host["live"] or "(nothing)", _health(host), shown, going.get(host["host"], ""))
        )
    return rows


def _health(host: Mapping[str, Any]) -> str:
    if host.get("why"):
        return f"not reached: {host['why']}"
    drifted = f"drifted: {', '.join(host['drifted'])}" if host.get("drifted") else ""
    if "healthy" not in host:
        return drifted
    if not host["healthy"]:
        return f"failed: {host['failed'][0]['check']}: {host['failed'][0]['detail']}"
    return drifted or "ok"


@deploy.command()
@click.argument("name")
@as_json
@with_config
def show(name: str, in_json: bool, config: Path | None) -> None:
    """One deployment: of a call, or the newest of an app. Each host, each step, how long it took, why it failed."""
    from interlock.cli.printing import print_fields, print_json, print_table, when

    found = ask(config, "deploy.show", name=name)
    if in_json:
        print_json(found)
        return
    row, now = found["deployment"], found["now"]
    print_fields(
        {
            "call": row["call_id"],
            "app": row["app"],
            "what": f"{row['kind']} {row['release']}".strip(),
            "caller": row["principal"],
            "began": when(row["created"]),
            "ended": when(row["ended"]),
            "outcome": row["outcome"] or f"under way, {row['phase']}",
            "because": row["reason"] or (row["result"].get("error") or {}).get("reason", ""),
        }
    )
    click.echo()
    print_table(("host", "state", "last step"), [(h["host"], h["state"], h["step"]) for h in now["hosts"]], "No host.")
    click.echo()
    print_table(
        ("host", "step", "state", "took", "why"), [_step(step) for step in found["steps"]], "No step has begun yet."
    )


def _step(step: Mapping[str, Any]) -> tuple[str, ...]:
    from interlock.cli.printing import took

    seconds = took(step["ended"] - step["began"]) if step["ended"] is not None else ""
    again = f" ({step['attempt']})" if step["attempt"] > 1 else ""
    return step["host"], step["step"] + again, step["state"], seconds, step["detail"].get("reason", "")


@deploy.command()
@click.argument("app")
@click.argument("artifact")
@click.option("--release", default="", help="Name of the release; default: from the artifact's hash.")
@click.option("--principal", default="", help="For whom it is decided; default: the local client's.")
@as_json
@with_config
def plan(app: str, artifact: str, release: str, principal: str, in_json: bool, config: Path | None) -> None:
    """What shipping an artifact would do, host by host, and what policy says of it. Nothing is changed."""
    from interlock.cli.printing import one_line, print_json

    found = ask(config, "deploy.plan", app=app, artifact=artifact, release=release, principal=principal)
    if in_json:
        print_json(found)
    elif not found["error"]:
        _print_plan(found["result"])
    if found["error"]:
        error = found["error"]
        near = ", ".join(error["allowed"][:ALLOWED_SHOWN_MAX])
        hint = one_line(f"there is {near}", 400) if near else ""
        raise Ending(NO, typed(error["code"], one_line(error["message"], 600), hint))


def _print_plan(result: Mapping[str, Any]) -> None:
    from interlock.cli.printing import one_line

    if result["outcome"] != "preview":
        click.echo(one_line(f"{result['release']} is live everywhere: nothing would be done."))
        return
    words: Sequence[str] = result["words"]
    for line in (*words, *result.get("diff", ())):
        click.echo(one_line(line, 1_000))
    asks = ", ".join(result["would_ask"])
    click.echo(one_line(f"A human would be asked first: {asks}." if asks else "No human would be asked."))


@deploy.command()
@click.argument("name")
@click.option("--reason", required=True, help="What was seen on the hosts; it stays on record.")
@as_json
@with_config
def end(name: str, reason: str, in_json: bool, config: Path | None) -> None:
    """Give up a deployment whose hosts do not answer any more, once a person has seen to them. The app is free then."""
    from interlock.cli.printing import one_line, print_json, print_table

    done = ask(config, "deploy.end", name=name, reason=reason)
    if in_json:
        print_json(done)
        return
    click.echo(one_line(f"Given up: {done['app']} is free. As its record has the hosts:"))
    rows = [(host["host"], host["state"], host.get("why", "")) for host in done["hosts"]]
    print_table(("host", "state", "why"), rows, "No host.")
