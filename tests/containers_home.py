"""An app, `box`, that is a container on a fleet of real hosts with podman, and what really runs there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from deploy_home import config_of
from fleet import Fleet
from fleet_engine import IMAGE, WEB_PORT
from fleet_host import Host

BOX = """
[apps.box]
hosts = ["*"]
path = "/srv/box"
strategy = "container"
keep = 2
{more}
[apps.box.container]
image = "{image}"
name = "box"
options = ["--network=host", "--env=WHO=box"]
stop_seconds = 0
[[apps.box.checks]]
kind = "http"
target = "http://127.0.0.1:{port}/health"
expected = "ok"
interval_seconds = 0.2
tries = 10
[apps.box.batches]
canary = 1
size = 2
"""


def box_config(folder: Path, fleet: Fleet, *, more: str = "") -> Path:
    """An interlock.toml with `box` beside the fleet's shop."""
    text = BOX.replace("{more}", more).replace("{image}", IMAGE).replace("{port}", str(WEB_PORT))
    return config_of(folder, fleet, tables=text)


def podman(host: Host, *words: str) -> subprocess.CompletedProcess:
    return host.run(["podman", *words])


def page(host: Host) -> str:
    """The first line of what answers at the container's port; "" where nothing does."""
    ask = f"exec 3<>/dev/tcp/127.0.0.1/{WEB_PORT}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3"
    return host.run(["/bin/bash", "-c", ask]).stdout.strip()


def containers(host: Host) -> dict[str, str]:
    """Every container there is, and its state."""
    found = json.loads(podman(host, "ps", "-a", "--format", "json").stdout or "[]")
    return {entry["Names"][0]: entry["State"] for entry in found}


def images(host: Host) -> set[str]:
    """The digests (hex) of the images that the engine keeps."""
    found = json.loads(podman(host, "images", "--format", "json").stdout or "[]")
    return {entry["Digest"].removeprefix("sha256:") for entry in found}


def unbox(fleet: Fleet) -> None:
    """Nothing of it is left on the hosts."""
    for host in fleet:
        for name in containers(host):
            podman(host, "stop", "-t", "0", name)
            podman(host, "rm", "-f", name)
        podman(host, "image", "rm", "-a", "-f")
        host.run(["/bin/sh", "-c", "rm -rf /srv/box"])
