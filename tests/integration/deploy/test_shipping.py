"""Shipping a release to real hosts and back: nginx serves it, or what it served before. Disk and client are witness."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_home import config_of, kept, live, open_shop, pages, states, write_artifact
from fleet import Fleet, needs_fleet
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet, pytest.mark.usefixtures("tidied")]


async def test_a_release_goes_live_on_every_host_the_canary_first(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        answer = await shop.ship("one", release="r1")
        assert (answer["state"], answer["result"]["outcome"], states(answer)) == (
            "succeeded", "live", {"web1": "live", "web2": "live", "web3": "live"},
        )  # fmt: skip
        assert pages(fleet) == ["one"] * 3
        assert [live(host) for host in fleet] == ["r1"] * 3
        checked, switched = shop.heard.index("web1: check done"), shop.heard.index("web2: switch done")
        assert checked < switched
        assert all(entry["checks"][0]["passed"] for entry in answer["result"]["hosts"])
        assert answer["scores"]["success"] == 1.0


async def test_what_is_live_already_is_said_to_be_and_nothing_is_done(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        await shop.ship("one")
        masters = [host.run(["sv", "status", "nginx"]).stdout.split()[3] for host in fleet]
        again = await shop.ship("one")
        assert (again["state"], again["result"]["outcome"]) == ("succeeded", "unchanged")
        assert [host.run(["sv", "status", "nginx"]).stdout.split()[3] for host in fleet] == masters
        (fleet[1].root / "shop/current/public/health").unlink()
        sick = await shop.ship("one")
        assert (sick["error"]["code"], sick["result"]["outcome"]) == ("VERIFICATION_FAILED", "unchanged")


async def test_a_canary_that_is_not_healthy_takes_all_back_and_the_old_page_is_served_throughout(
    fleet: Fleet, tmp_path: Path
) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        await shop.ship("one", release="r1")
        write_artifact(tmp_path, "sick", healthy=False)
        with fleet[1].poll() as others, fleet[0].poll() as canary:
            answer = await shop.ship("sick", release="r2")
        assert (answer["state"], answer["error"]["code"]) == ("failed", "VERIFICATION_FAILED")
        assert answer["result"]["outcome"] == "taken_back"
        assert states(answer) == {"web1": "taken_back", "web2": "untouched", "web3": "untouched"}
        assert "web1" in answer["error"]["message"]
        assert [live(host) for host in fleet] == ["r1"] * 3
        assert [kept(host) for host in fleet] == [{"r1"}] * 3  # nothing of it is left
        assert pages(fleet) == ["one"] * 3
        assert {(each.status, each.line) for each in others} == {(200, "one")}
        assert {each.line for each in canary if each.status} <= {"one", "sick"}  # but for the restart's own
        proof = answer["result"]["hosts"][0]["checks"]
        assert [check["passed"] for check in proof] == [False, True]


async def test_a_rollback_goes_to_the_release_before_or_to_a_named_one_that_is_kept(
    fleet: Fleet, tmp_path: Path
) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        for number, name in enumerate(("one", "two", "three"), 1):
            write_artifact(tmp_path, name)
            await shop.ship(name, release=f"r{number}")
        back = await shop.call("deploy_rollback", app="shop", intent="two was better", wait_seconds=60)
        assert (back["result"]["outcome"], back["result"]["release"]) == ("live", "r2")
        assert pages(fleet) == ["two"] * 3
        named = await shop.call("deploy_rollback", app="shop", release="r1", intent="the first", wait_seconds=60)
        assert (named["state"], pages(fleet)) == ("succeeded", ["one"] * 3)
        again = await shop.ship("three", release="r3")  # it was kept: nothing is sent
        assert again["state"] == "succeeded"
        back = await shop.call("deploy_rollback", app="shop", intent="what was live before", wait_seconds=60)
        assert back["result"]["release"] == "r1"
        gone = await shop.call("deploy_rollback", app="shop", release="r9", intent="never was", wait_seconds=60)
        assert (gone["error"]["code"], gone["error"]["recovery"]["tool"]) == ("STALE_STATE", "deploy_status")
        assert set(gone["error"]["allowed"]) == {"r2", "r3"}


async def test_old_releases_go_and_as_many_stay_as_the_app_keeps(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        for number in range(1, 6):
            write_artifact(tmp_path, f"page{number}")
            assert (await shop.ship(f"page{number}", release=f"r{number}"))["state"] == "succeeded"
        assert [kept(host) for host in fleet] == [{"r3", "r4", "r5"}] * 3
        status = await shop.status()
        assert [entry["live"] for entry in status["hosts"]] == ["r5"] * 3
        assert [entry["release"] for entry in status["hosts"][0]["kept"]] == ["r5", "r4", "r3"]
        assert status["rolling_out"] is None


async def test_a_preview_shows_the_plan_host_by_host_and_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        answer = await shop.ship("one", release="r1", mode="preview")
        assert (answer["state"], answer["result"]["outcome"]) == ("succeeded", "preview")
        assert answer["result"]["plan"]["batches"] == [["web1"], ["web2", "web3"]]
        assert any("canary: web1: (nothing) → r1" in line for line in answer["result"]["words"])
        assert not any((host.root / "shop").exists() for host in fleet)


async def test_shared_folders_outlive_releases_and_hooks_run_in_the_release(fleet: Fleet, tmp_path: Path) -> None:
    hooks = """
[apps.shop.hooks.prepare]
argv = ["/bin/sh", "-c", "echo $INTERLOCK_RELEASE after $INTERLOCK_BEFORE > prepared"]
[apps.shop.hooks.activate]
argv = ["/bin/sh", "-c", "touch uploads/$INTERLOCK_RELEASE"]
[apps.shop.hooks.after]
argv = ["/bin/sh", "-c", "touch /srv/seen/$INTERLOCK_APP"]
writes = ["/srv/seen"]
"""
    config = config_of(tmp_path, fleet, more='shared = ["uploads"]', tables=hooks)
    write_artifact(tmp_path, "two")
    for host in fleet:
        (host.root / "seen").mkdir()
    async with open_shop(config, fleet) as shop:
        for name, release in (("one", "r1"), ("two", "r2")):
            answer = await shop.ship(name, release=release)
            assert answer["state"] == "succeeded", answer
    for host in fleet:
        assert (host.root / "shop/current/prepared").read_text() == "r2 after r1\n"
        assert {entry.name for entry in (host.root / "shop/shared/uploads").iterdir()} == {"r1", "r2"}
        assert (host.root / "seen/shop").exists()


async def test_a_hook_that_writes_elsewhere_fails_in_the_kernel_before_anything_is_live(
    fleet: Fleet, tmp_path: Path
) -> None:
    hooks = """
[apps.shop.hooks.prepare]
argv = ["/bin/sh", "-c", "echo broken > /srv/elsewhere"]
"""
    async with open_shop(config_of(tmp_path, fleet, tables=hooks), fleet) as shop:
        answer = await shop.ship("one", release="r1")
        assert (answer["error"]["code"], answer["result"]["outcome"]) == ("COMMAND_FAILED", "taken_back")
        assert set(states(answer).values()) == {"untouched"}
        for host in fleet:
            assert not (host.root / "elsewhere").exists()
            assert (live(host), kept(host)) == ("", set())


async def test_a_service_is_restarted_host_by_host_and_only_a_configured_one(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        await shop.ship("one")
        before = [host.run(["sv", "status", "nginx"]).stdout.split()[3] for host in fleet]
        status = await shop.call("deploy_service", service="nginx", action="status", wait_seconds=30)
        assert [entry["active"] for entry in status["result"]["hosts"]] == [True] * 3
        one = await shop.call(
            "deploy_service", service="nginx", action="restart", on="web2", intent="stuck", wait_seconds=60
        )
        assert (one["state"], states(one)) == ("succeeded", {"web2": "done"})
        after = [host.run(["sv", "status", "nginx"]).stdout.split()[3] for host in fleet]
        assert [old != new for old, new in zip(before, after, strict=True)] == [False, True, False]
        other = await shop.call("deploy_service", service="sshd", action="stop", intent="break it")
        assert (other["state"], other["error"]["code"]) == ("invalid", "APP_UNKNOWN")


async def test_an_app_whose_name_is_a_command_is_refused_and_nothing_runs(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        for name in ("shop; touch /srv/seen", "$(touch /srv/seen)", "../shop", "shop\ntouch /srv/seen"):
            answer = await shop.call("deploy_release", app=name, artifact="one", intent="break out")
            assert (answer["state"], answer["error"]["code"]) == ("invalid", "APP_UNKNOWN")
            odd = await shop.ship("one", release=name)
            assert (odd["state"], odd["error"]["code"]) == ("invalid", "ARGUMENT_INVALID")
        assert not any((host.root / "seen").exists() or (host.root / "shop").exists() for host in fleet)


@pytest.mark.parametrize("manager", ["supervisor", "systemd"])
async def test_a_fleet_under_another_manager_is_shipped_to_and_taken_back_as_well(
    start_fleet: Callable[..., Fleet], tmp_path: Path, manager: str
) -> None:
    fleet = start_fleet(2, service=manager)
    write_artifact(tmp_path, "sick", healthy=False)
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        assert (await shop.ship("one", release="r1"))["state"] == "succeeded"
        answer = await shop.ship("sick", release="r2")
        assert states(answer) == {"web1": "taken_back", "web2": "untouched"}
        assert pages(fleet) == ["one"] * 2
        status = await shop.call("deploy_service", service="nginx", action="status", wait_seconds=30)
        assert [entry["active"] for entry in status["result"]["hosts"]] == [True] * 2
