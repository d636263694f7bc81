"""`interlock init`, `doctor`, `demo` and `version`: the first minutes, and finding out what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from interlock.cli.asking import as_json, with_config
from interlock.cli.ending import NO, REFUSED, Ending, ending_of, failures, typed

if TYPE_CHECKING:
    from interlock.settings import Settings

Found = dict[str, Any]


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path | None) -> None:
    """Write a commented interlock.toml and a first policy to start from.

    FOLDER is the user's own configuration folder unless given; nothing is overwritten.
    """
    from interlock.config.init import write_start
    from interlock.config.places import CONFIG_NAME, config_dir

    with failures():
        where = folder or config_dir()
        written, kept = write_start(where.absolute())
        for path in written:
            click.echo(f"wrote {path}")
        for path in kept:
            click.echo(f"left as it was: {path}", err=True)
        if not written:
            raise Ending(REFUSED, typed("EXISTS", f"{where} has both files already", "nothing was changed"))
        given = f" --config {where.absolute() / CONFIG_NAME}" if folder else ""
        click.echo(f"Next: change it, then run 'interlock doctor{given}'.")


@click.command()
@click.option("-v", "--verbose", is_flag=True, help="A line for every check of a host, also where all is well.")
@as_json
@with_config
def doctor(verbose: bool, in_json: bool, config: Path | None) -> None:
    """Check configuration, policy, state and every host, and say how to mend what is wrong."""
    from interlock.cli.printing import print_json, print_table
    from interlock.config import settings_for

    try:
        settings = settings_for(config)
    except Exception as fault:
        if not in_json:
            raise
        ending = ending_of(fault)
        print_json([_found("configuration", line, ok=False) for line in ending.lines])
        raise ending from None
    rows = [_found("configuration", str(settings.source or "the embedded default"), ok=True)]
    rows += [_state(settings), _shell_parser(), _policy(settings), *_hosts(config, settings)]
    if in_json:
        print_json(rows)
    else:
        cells = [
            ("ok" if row["ok"] else "failed", row["what"], row["detail"], row["mend"])
            for row in (rows if verbose else _folded(rows))
        ]
        print_table(("", "what", "found", "to mend it"), cells, "")
    broken = sum(not row["ok"] for row in rows)
    if broken:
        raise Ending(NO, typed("DOCTOR", f"{broken} of {len(rows)} checks failed", "each says how to mend it"))


def _folded(rows: list[Found]) -> list[Found]:
    """The checks of a host that went well as one line, before what went wrong there."""
    shown: dict[str, Found] = {}
    for row in rows:
        host, colon, subject = row["what"].partition(": ")
        if not (colon and row["ok"]):
            shown[f"{len(shown)} {row['what']}"] = row
        elif host in shown:
            shown[host] = {**shown[host], "detail": f"{shown[host]['detail']}, {subject}"}
        else:
            shown[host] = {**row, "what": host, "detail": subject}
    return list(shown.values())


def _found(what: str, detail: str, *, ok: bool, mend: str = "") -> Found:
    return {"what": what, "ok": ok, "detail": detail, "mend": mend}


def _state(settings: Settings) -> Found:
    folder = settings.state_dir
    if not folder.exists():
        return _found("state", f"{folder} will be made at the first start", ok=True)
    if folder.stat().st_mode & 0o077:
        return _found("state", f"{folder} can be read by others", ok=False, mend=f"chmod 700 {folder}")
    return _found("state", str(folder), ok=True)


def _shell_parser() -> Found:
    from interlock.shfmt import run_shfmt

    try:
        run_shfmt("true")
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is what the doctor is asked for
        mend = "reinstall interlock-mcp with its dependencies"
        return _found("shell parser", f"shfmt does not run: {type(fault).__name__}", ok=False, mend=mend)
    return _found("shell parser", "shfmt runs", ok=True)


def _policy(settings: Settings) -> Found:
    from interlock.policy_files import PolicyFiles
    from interlock_policies.statements import PolicyFault

    try:
        engine = PolicyFiles(settings).load()
    except PolicyFault as fault:
        return _found("policy", f"{fault.file}:{fault.line}: {fault.message}", ok=False, mend=fault.hint)
    return _found("policy", f"{len(engine.rules())} rules, version {engine.version[:12]}", ok=True)


def _hosts(config: Path | None, settings: Settings) -> list[Found]:
    """What stands between us and each host, as the owner of the store sees it."""
    from interlock.cli.asking import ask

    try:
        found = ask(config, "hosts.check", hosts=list(settings.hosts))
    except Exception as fault:  # noqa: BLE001 - the doctor says what is wrong, whatever it is
        return [_found("store", "; ".join(ending_of(fault).lines), ok=False)]
    return [_found(f"{row['host']}: {row['subject']}", row["detail"], ok=row["ok"], mend=row["mend"]) for row in found]


@click.command()
def demo() -> None:
    """See it work: a scripted agent, a refusal, a recovery, an approval, and the record."""
    from interlock.demo import run_demo

    with failures():
        raise click.exceptions.Exit(run_demo())


@click.command()
@as_json
def version(in_json: bool) -> None:
    """Which Interlock this is, and what it stands on."""
    import platform
    from importlib.metadata import version as version_of

    from interlock import __version__
    from interlock.cli.printing import print_json

    parts = {"python": platform.python_version()}
    parts |= {name: version_of(name) for name in ("mcp", "asyncssh", "cedarpy")}
    if in_json:
        print_json({"interlock": __version__, **parts})
        return
    click.echo(f"interlock {__version__} ({', '.join(f'{name} {number}' for name, number in parts.items())})")
