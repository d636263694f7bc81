"""An app, `edge`, that is a set of files on a fleet of real hosts: what is shipped, and the files on the disks."""

from __future__ import annotations

import stat
from pathlib import Path

from deploy_home import config_of
from fleet import Fleet
from fleet_host import Host

SECRET = "correct-horse-battery"
EDGE = """
[apps.edge]
hosts = ["*"]
path = "/srv/edge"
strategy = "files"
keep = 3
{more}
[apps.edge.values]
workers = 4
[[apps.edge.host_values]]
hosts = ["web2"]
values = {workers = 2}
[apps.edge.secrets]
password = {file = "{folder}/password"}
[[apps.edge.files]]
source = "edge.conf.tmpl"
target = "/srv/etc/edge.conf"
mode = "0640"
[[apps.edge.files]]
source = "conf.d/"
target = "/srv/etc/conf.d/"
[[apps.edge.checks]]
kind = "command"
target = "cat /srv/etc/edge.conf"
expected = "healthy"
interval_seconds = 0.2
tries = 2
[apps.edge.batches]
canary = 1
size = 2
{tables}
"""
CONF = "# {name} of {{ host }}\nworkers {{ workers }}\npassword {{ password }}\n{state}\n"


def write_set(folder: Path, name: str, *, healthy: bool = True, **parts: str) -> Path:
    """A set of templates; `parts` are files in its conf.d, by their names without an end."""
    made = folder / "artifacts" / name
    (made / "conf.d").mkdir(parents=True, exist_ok=True)
    text = CONF.replace("{name}", name).replace("{state}", "healthy" if healthy else "broken")
    (made / "edge.conf.tmpl").write_text(text)
    for part, content in (parts or {"a": f"a of {name}\n"}).items():
        (made / "conf.d" / f"{part}.conf").write_text(content)
    return made


def edge_config(folder: Path, fleet: Fleet, *, env: str = "dev", more: str = "", tables: str = "") -> Path:
    """An interlock.toml with `edge` beside the fleet's shop, and one set, `first`, to be shipped."""
    secret = folder / "password"
    secret.touch(mode=0o600)
    secret.write_text(SECRET + "\n")
    write_set(folder, "first")
    text = EDGE.replace("{more}", more).replace("{tables}", tables).replace("{folder}", str(folder))
    return config_of(folder, fleet, env=env, tables=text)


def etc(host: Host) -> dict[str, tuple[str, int]]:
    """Every file below /srv/etc of a host: content and mode."""
    root = host.root / "etc"
    return {
        str(path.relative_to(root)): (path.read_text(), stat.S_IMODE(path.stat().st_mode))
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def first_lines(fleet: Fleet) -> list[str]:
    """The first word that says which set each host has: its name."""
    return [etc(host).get("edge.conf", ("# nothing of", 0))[0].split()[1] for host in fleet]


def clear(fleet: Fleet) -> None:
    """Nothing of it is left on the hosts."""
    for host in fleet:
        host.run(["/bin/sh", "-c", "rm -rf /srv/edge /srv/etc"])
