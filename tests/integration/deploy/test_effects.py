"""What a deployment's answer says that it changed, and its score: the hosts' disks before and after are the witness."""

import os
from pathlib import Path

import pytest

from deploy_home import at, config_of, kill_server, open_shop, ship_first, states, write_artifact
from fleet import Fleet, needs_fleet
from fleet_host import Host
from interlock.deploy_admin import DeployAdmin
from interlock_tools.call import Json
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet, pytest.mark.usefixtures("tidied")]
HOOKS = """
[apps.shop.hooks.prepare]
argv = ["/bin/sh", "-c", "mkdir made && echo $INTERLOCK_RELEASE > made/prepared && rm public/extra"]
[apps.shop.hooks.activate]
argv = ["/bin/sh", "-c", "echo $INTERLOCK_RELEASE > uploads/last; rm -f uploads/old"]
[apps.shop.hooks.after]
argv = ["/bin/sh", "-c", "touch /srv/seen/$INTERLOCK_RELEASE"]
writes = ["/srv/seen"]
"""
ONE_LINK = {"created": set(), "modified": {"/srv/shop/current"}, "deleted": set()}


def disk(host: Host) -> dict[str, tuple[str, ...]]:
    """What lies below the host's /srv, but for Interlock's own: by its path, a file's content and a link's target."""
    found: dict[str, tuple[str, ...]] = {}
    for path in host.root.rglob("*"):
        name = path.relative_to(host.root)
        if ".interlock" not in name.parts:
            what = ("->", os.readlink(path)) if path.is_symlink() else ("/",) if path.is_dir() else _content(path)
            found[f"/srv/{name}"] = what
    return found


def _content(path: Path) -> tuple[str, ...]:
    return (path.read_text("latin-1"), str(path.stat().st_mtime_ns))


def listed(answer: dict[str, Json], host: Host) -> dict[str, set[str]]:
    """What an answer lists of one host, by what became of it."""
    effects, begin = answer["effects"], f"{host.name}:"
    assert not effects["left_out"]
    return {
        name: {path.removeprefix(begin) for path in effects[name] if path.startswith(begin)}
        for name in ("created", "modified", "deleted")
    }


def is_what_the_disk_shows(answer: dict[str, Json], host: Host, before: dict[str, tuple[str, ...]]) -> bool:
    """Nothing is listed that is not so, and all that is so is listed, or lies in a folder that is listed as a whole."""
    after, said = disk(host), listed(answer, host)
    came, went = after.keys() - before.keys(), before.keys() - after.keys()
    other = {path for path in after.keys() & before.keys() if after[path] != before[path]}
    for paths, named in ((came, said["created"]), (went, said["deleted"])):
        assert named <= paths, named - paths
        assert not [path for path in paths if not any(path == top or path.startswith(top + "/") for top in named)]
    assert said["modified"] == other
    return True


async def test_a_shipped_release_lists_what_the_disks_show_and_its_hooks_stay_within_what_they_declare(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet, more='shared = ["uploads"]', tables=HOOKS)
    for name in ("one", "two", "sick"):
        write_artifact(tmp_path, name, healthy=name != "sick")
        (tmp_path / f"artifacts/{name}/public/extra").write_text("x")
    for host in fleet:
        (host.root / "seen").mkdir()
    async with open_shop(config, fleet) as shop:
        for name, release in (("one", "r1"), ("two", "r2")):
            before = [disk(host) for host in fleet]
            answer = await shop.ship(name, release=release)
            assert answer["state"] == "succeeded", answer
            assert all(is_what_the_disk_shows(answer, host, was) for host, was in zip(fleet, before, strict=True))
            assert {"/srv/shop/releases/" + release, f"/srv/seen/{release}"} <= listed(answer, fleet[2])["created"]
            assert (answer["effects"]["observed"], answer["effects"]["undeclared"]) == ("confined", [])
            assert (answer["scores"]["side_effects"], answer["notices"]) == (1.0, [])
            (fleet[0].root / "shop/shared/uploads/old").touch()  # a hook may remove what it may write
        assert listed(answer, fleet[0])["modified"] == {"/srv/shop/current", "/srv/shop/shared/uploads/last"}
        before = [disk(host) for host in fleet]
        answer = await shop.ship("sick", release="r3")
        assert states(answer)["web1"] == "taken_back"
        assert all(is_what_the_disk_shows(answer, host, was) for host, was in zip(fleet, before, strict=True))
        kept = {"created": set(), "modified": {"/srv/shop/shared/uploads/last"}, "deleted": set()}
        assert listed(answer, fleet[0]) == kept | {"deleted": {"/srv/shop/shared/uploads/old"}}, "what its hooks left"
        assert listed(answer, fleet[1]) == {"created": set(), "modified": set(), "deleted": set()}
        assert (answer["effects"]["observed"], answer["scores"]["side_effects"]) == ("confined", 1.0)
        (scored,) = [row for row in await shop.app.store.scores("agent") if row.tool == "deploy_release"]
        assert scored.side_effects == 1.0


async def test_releases_that_go_are_listed_and_a_rollback_lists_one_link(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        for number in range(1, 5):
            write_artifact(tmp_path, f"page{number}")
            before = [disk(host) for host in fleet]
            answer = await shop.ship(f"page{number}", release=f"r{number}")
            assert all(is_what_the_disk_shows(answer, host, was) for host, was in zip(fleet, before, strict=True))
            assert answer["scores"]["side_effects"] == 1.0
        assert [listed(answer, host)["deleted"] for host in fleet] == [{"/srv/shop/releases/r1"}] * 3
        back = await shop.call("deploy_rollback", app="shop", release="r3", intent="it was better", wait_seconds=60)
        assert [listed(back, host) for host in fleet] == [ONE_LINK] * 3
        assert (back["scores"]["side_effects"], back["effects"]["observed"]) == (1.0, "confined")
        restarted = await shop.call(
            "deploy_service", service="nginx", action="restart", intent="it is stuck", wait_seconds=60
        )
        assert (restarted["effects"]["observed"], restarted["scores"]["side_effects"]) == ("none", None)


async def test_a_hook_that_nothing_contains_leaves_the_deployment_without_a_score(fleet: Fleet, tmp_path: Path) -> None:
    hook = '[apps.shop.hooks.after]\nargv = ["/bin/touch", "/srv/seen"]\ncontainment = "none"\n'
    async with open_shop(config_of(tmp_path, fleet, tables=hook), fleet) as shop:
        answer = await shop.ship("one", release="r1")
        assert answer["state"] == "succeeded", answer
        assert answer["effects"]["observed"] in ("scanned", "none")
        assert answer["scores"]["side_effects"] is None
        assert "/srv/shop/current" in listed(answer, fleet[0])["created"]


async def test_what_is_settled_after_its_host_is_back_has_its_effects_and_its_score(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    before = [disk(host) for host in fleet]
    async with open_shop(config, fleet, at("switch", "web2", "end", fleet[1].stop)) as shop:
        answer = await shop.ship("two", release="r2")
        assert (answer["state"], answer["effects"]["observed"]) == ("unknown", "none")
        assert answer["scores"]["side_effects"] is None
        assert listed(answer, fleet[1])["modified"] == {"/srv/shop/current"}
        assert any("web2" in notice for notice in answer["notices"])
        fleet[1].start()
        ended = await shop.settled(answer["call_id"])
        assert (ended["state"], ended["effects"]["observed"]) == ("failed", "confined")
        assert all(is_what_the_disk_shows(ended, host, was) for host, was in zip(fleet, before, strict=True))
        assert ended["scores"]["side_effects"] == 1.0
        row = await shop.app.store.call(answer["call_id"])
        assert row is not None
        assert row.side_effects == 1.0


@pytest.mark.parametrize(("step", "moment"), [("place", "done"), ("switch", "done"), ("prune", "on record")])
@pytest.mark.parametrize("restart", ["continue", "take_back"])
async def test_after_a_killed_server_the_next_one_tells_the_same(
    fleet: Fleet, tmp_path: Path, step: str, moment: str, restart: str
) -> None:
    config = config_of(tmp_path, fleet, more=f'on_restart = "{restart}"\n')
    config.write_text(config.read_text().replace("keep = 3", "keep = 1"))
    await ship_first(config, fleet)
    async with open_shop(config, fleet) as shop:
        await shop.ship("two", release="r2")
    before = [disk(host) for host in fleet]
    kill_server(config, "shop", "one", step, "web1", moment, release="r3")
    async with open_shop(config, fleet) as shop:
        rows = await shop.app.store.deployments("shop", 1)
        ended = await shop.settled(rows[0].call_id)
        assert ended["result"]["outcome"] == ("live" if restart == "continue" or step == "prune" else "taken_back")
        assert all(is_what_the_disk_shows(ended, host, was) for host, was in zip(fleet, before, strict=True))
        assert (ended["effects"]["observed"], ended["scores"]["side_effects"]) == ("confined", 1.0)


async def test_what_a_person_gave_up_lists_what_is_known_and_has_no_score(fleet: Fleet, tmp_path: Path) -> None:
    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    async with open_shop(config, fleet, at("switch", "web2", "end", fleet[1].stop)) as shop:
        call_id = (await shop.ship("two", release="r2"))["call_id"]
        await DeployAdmin(shop.app).end(call_id, "web2 is thrown away", "somebody")
        ended = await shop.settled(call_id)
        assert (ended["state"], ended["result"]["outcome"]) == ("cancelled", "given_up")
        assert (ended["effects"]["observed"], ended["scores"]["side_effects"]) == ("none", None)
        assert listed(ended, fleet[1])["modified"] == {"/srv/shop/current"}
