"""From an empty configuration to a bad release that took itself back, with docs/deploy.md alone: MCP and a shell."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_home import live
from fleet import Fleet, needs_fleet, running_fleet
from guarded import Guarded
from house import ROOT
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running_fleet(tmp_path / "fleet", 1) as hosts:
        yield hosts


def documented(fleet: Fleet) -> str:
    """The page's own configuration, with the host that is there instead of its example."""
    page = (ROOT / "docs/deploy.md").read_text()
    text = next(block for block in re.findall(r"```\n(.*?)```", page, re.DOTALL) if "[apps.shop]" in block)
    host = fleet[0]
    keys = f'identities = [{{file = "{host.keys / "client_key"}"}}]\nknown_hosts = "{host.keys / "known_hosts"}"\n'
    here = f'address = "127.0.0.1"\nport = {host.door.port}\nuser = "root"\n{keys}'
    written = 'address = "web1.example.com"\nuser = "deploy"\n'
    assert written in text
    return text.replace(written, here)


def house_of(folder: Path, fleet: Fleet) -> Guarded:
    """A house whose configuration is the page's, with two releases to ship, one of them sick."""
    house = Guarded(folder)
    house.config.parent.mkdir(mode=0o700)
    state = f'[server]\nstate_dir = "{house.state}"\n'
    house.config.write_text(documented(fleet).replace("[server]\n", state))
    for name, files in (("good", {"index.html": "good\n", "health": "ok\n"}), ("bad", {"index.html": "bad\n"})):
        public = house.config.parent / "artifacts" / name / "public"
        public.mkdir(parents=True)
        for file, content in files.items():
            (public / file).write_text(content)
    (house.config.parent / "artifacts").chmod(0o755)
    return house


async def test_the_documentation_leads_to_a_release_and_back_from_a_bad_one(tmp_path: Path, fleet: Fleet) -> None:
    house = house_of(tmp_path, fleet)
    plan = await house.command("deploy", "plan", "shop", "good")
    assert plan.returncode == 0, plan.stderr
    assert "web1: (nothing) → " in plan.stdout
    assert "No human would be asked." in plan.stdout
    assert not (fleet[0].root / "shop").exists()
    async with house.client() as agent:
        names = {tool.name for tool in (await agent.client.list_tools()).tools}
        assert names >= {"deploy_release", "deploy_status", "deploy_rollback", "deploy_service"}
        heard: list[str] = []

        async def hear(_progress: float, _total: float | None, message: str | None) -> None:
            heard.append(message or "")

        shipped = await agent.call(
            "deploy_release", progress=hear, app="shop", artifact="good", release="r1", intent="The new basket"
        )
        assert (shipped["state"], fleet[0].get("/")[1]) == ("succeeded", "good\n"), shipped
        assert any("web1: switch done" in sentence for sentence in heard)
        bad = await agent.call("deploy_release", app="shop", artifact="bad", release="r2", intent="A newer basket")
        assert (bad["state"], bad["result"]["outcome"]) == ("failed", "taken_back")
        assert bad["error"]["recovery"]["tool"] == "deploy_status"
        assert (live(fleet[0]), fleet[0].get("/")[1]) == ("r1", "good\n")
        status = await agent.call(**{"tool": bad["error"]["recovery"]["tool"], **bad["error"]["recovery"]["arguments"]})
        assert (status["result"]["hosts"][0]["live"], status["result"]["hosts"][0]["healthy"]) == ("r1", True)
        listed = await house.command("deploy", "list")
        shown = await house.command("deploy", "show", "shop")
        other = await house.command("deploy", "show", "shpo")
    assert re.search(r"shop\s+web1\s+r1\s+ok", listed.stdout), listed.stdout
    assert "taken_back" in shown.stdout
    assert re.search(r"web1\s+check\s+failed", shown.stdout), shown.stdout
    assert re.search(r"web1\s+check_back\s+done", shown.stdout), shown.stdout
    assert "CALL_UNKNOWN" in other.stderr
    assert "did you mean shop?" in other.stderr
