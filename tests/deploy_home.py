"""A server with one app, `shop`, on a fleet of real hosts: what is shipped, calls as an agent makes them, the disks."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import killed_deployment
from fleet import Fleet, toml
from fleet_host import Host
from interlock.app import App, open_app
from interlock.config import load
from interlock.deploy.steps import unwatched
from interlock.ports import Request
from interlock_tools.call import Json
from interlock_tools.rollout import StepName

WAIT_SECONDS = 60.0
SHOP = """
[server]
state_dir = "{folder}/state"
artifacts = "{folder}/artifacts"
[limits]
budget_units_per_day = 1000000
loop_repeats_max = 50
loop_pause_repeats_max = 60
connect_timeout_seconds = 3
login_timeout_seconds = 3
keepalive_seconds = 1
reattach_seconds_max = 3
[policy]
packs = ["baseline", "environments", "confidence", "deploy"]
[apps.shop]
hosts = ["*"]
path = "/srv/shop"
keep = 3
{more}
[apps.shop.service]
unit = "nginx"
manager = "{manager}"
timeout_seconds = 15
[[apps.shop.checks]]
kind = "http"
target = "http://127.0.0.1:8080/health"
expected = "ok"
interval_seconds = 0.2
tries = 3
[apps.shop.batches]
canary = 1
size = 2
{tables}
"""


def write_artifact(folder: Path, name: str, *, healthy: bool = True) -> Path:
    """An artifact that serves its own name as the page, and answers its health check, or does not."""
    public = folder / "artifacts" / name / "public"
    public.mkdir(parents=True, exist_ok=True)
    (folder / "artifacts").chmod(0o755)
    (public / "index.html").write_text(f"{name}\n")
    if healthy:
        (public / "health").write_text("ok\n")
    return public.parent


@dataclass
class Shop:
    """One opened server, and what it reported on the way."""

    app: App
    fleet: Fleet
    heard: list[str] = field(default_factory=list)
    on_progress: Callable[[str], object] = field(default=lambda _: None)

    async def call(self, tool: str, **arguments: Json) -> dict[str, Json]:
        """A call of the agent's, and its envelope."""

        async def progress(sentence: str, _: int) -> None:
            self.heard.append(sentence)
            self.on_progress(sentence)

        return (await self.app.front.call(Request("agent", "session", tool, arguments), progress)).to_json()

    async def ship(self, artifact: str, **more: Json) -> dict[str, Json]:
        """Ship an artifact, and wait for the end."""
        wanted = {"app": "shop", "artifact": artifact, "intent": "ship it", "wait_seconds": 60}
        return await self.call("deploy_release", **wanted | more)

    async def status(self) -> dict[str, Json]:
        """What deploy_status says."""
        return (await self.call("deploy_status", app="shop"))["result"]

    async def settled(self, call_id: str) -> dict[str, Json]:
        """The call's end, once it has one."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                answer = await self.call("call_status", call_id=call_id, wait_seconds=5)
                if answer["state"] not in ("running", "unknown", "awaiting_approval"):
                    return answer
                await asyncio.sleep(0.05)


def config_of(folder: Path, fleet: Fleet, *, env: str = "dev", more: str = "", tables: str = "") -> Path:
    """An interlock.toml for the fleet's shop; `more` are keys of the app, `tables` further tables."""
    path = folder / "interlock.toml"
    manager = fleet[0].service
    text = toml(fleet).replace('"test"', json.dumps(env)) + SHOP
    write_artifact(folder, "one")
    path.write_text(
        text.replace("{folder}", str(folder))
        .replace("{manager}", manager)
        .replace("{more}", more)
        .replace("{tables}", tables)
    )
    return path


@asynccontextmanager
async def open_shop(
    config: Path, fleet: Fleet, on_step: Callable[[StepName, str, str], None] = unwatched
) -> AsyncIterator[Shop]:
    """The server of this configuration, opened in this process."""
    async with open_app(load(config), on_deploy_step=on_step) as app:
        yield Shop(app, fleet)


async def ship_first(config: Path, fleet: Fleet) -> None:
    """The first release, r1, is live and serves `one`; `two` and `sick`, which fails its check, lie ready."""
    write_artifact(config.parent, "two")
    write_artifact(config.parent, "sick", healthy=False)
    async with open_shop(config, fleet) as shop:
        assert (await shop.ship("one", release="r1"))["state"] == "succeeded"


@asynccontextmanager
async def open_midway(
    config: Path, fleet: Fleet, step: str, moment: str
) -> AsyncIterator[tuple[Shop, asyncio.Task[dict[str, Json]], str]]:
    """A server that ships `two` as r2 and is at this moment of web1's step: the shop, its shipping, and the call."""
    come = asyncio.Event()
    async with open_shop(config, fleet, at(step, "web1", moment, come.set)) as shop:
        shipping = asyncio.create_task(shop.ship("two", release="r2"))
        await asyncio.wait_for(come.wait(), 30)
        (call_id,) = shop.app.live.running()
        yield shop, shipping, call_id


def kill_server(config: Path, app: str, artifact: str, step: str, host: str, moment: str, release: str = "r2") -> None:
    """A server of its own ships this release, and is killed at this moment."""
    command = [sys.executable, killed_deployment.__file__, str(config), app, artifact, release, step, host, moment]
    done = subprocess.run(
        command, cwd=Path(killed_deployment.__file__).parent, capture_output=True, text=True, timeout=WAIT_SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr[-2_000:]


def pages(fleet: Fleet) -> list[str]:
    """The first line that each host serves."""
    return [host.get("/")[1].splitlines()[0] for host in fleet]


def live(host: Host) -> str:
    """Where `current` leads on the host's disk; "" where it is not there."""
    link = host.root / "shop/current"
    return link.readlink().name if link.is_symlink() else ""


def kept(host: Host) -> set[str]:
    """The releases on the host's disk, half ones too."""
    folder = host.root / "shop/releases"
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def tidy(fleet: Fleet) -> None:
    """Everything that was deployed is gone; nginx serves nothing again, on hosts that are all up."""
    for host in fleet:
        if not host.is_up:
            host.start()
        host.run(["/bin/sh", "-c", "rm -rf /srv/shop /srv/seen /srv/.interlock"])


def at(step: str, host: str, moment: str, act: Callable[[], object]) -> Callable[[StepName, str, str], None]:
    """An observer that acts once, when this moment is come to."""
    pending = [act]

    def observe(name: StepName, where: str, when: str) -> None:
        if (name.value, where, when) == (step, host, moment) and pending:
            pending.pop()()

    return observe


def states(answer: dict[str, Json]) -> dict[str, str]:
    """Where each host stands, as an answer says it."""
    return {entry["host"]: entry["state"] for entry in answer["result"]["hosts"]}
