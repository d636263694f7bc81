"""Deployments at their odd moments: ends that were nearly told wrongly, hosts left out, people who meddle."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from deploy_home import (
    at,
    config_of,
    kept,
    live,
    open_midway,
    open_shop,
    pages,
    ship_first,
    states,
    write_artifact,
)
from fleet import Fleet, needs_fleet
from fleet_host import wait_for
from interlock.app import open_app
from interlock.config import load
from interlock.ports import Request
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet, pytest.mark.usefixtures("tidied")]
SKIP = 'unreachable = "skip"'


@pytest.mark.parametrize("step", ["prune", "free"])
async def test_what_is_live_and_healthy_is_not_taken_back_by_a_late_cancel(
    fleet: Fleet, tmp_path: Path, step: str
) -> None:
    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    async with open_midway(config, fleet, step, "begin") as (shop, shipping, call_id):
        await shop.call("call_cancel", call_id=call_id)
        answer = await shipping
        assert (answer["state"], answer["result"]["outcome"]) == ("succeeded", "live")
        assert [live(host) for host in fleet] == ["r2"] * 3
        assert (await shop.ship("one", release="r1"))["state"] == "succeeded"  # the app is free


async def test_a_release_that_reached_no_host_is_no_success(fleet: Fleet, tmp_path: Path) -> None:
    def all_gone() -> None:
        for host in fleet:
            host.stop()

    async with open_shop(config_of(tmp_path, fleet, more=SKIP), fleet, at("claim", "web1", "end", all_gone)) as shop:
        answer = await shop.ship("one", release="r1")
        assert (answer["state"], answer["result"]["outcome"]) == ("failed", "taken_back"), answer
    assert [live(host) for host in fleet] == [""] * 3


async def test_where_the_canary_is_left_out_another_host_is_the_canary(fleet: Fleet, tmp_path: Path) -> None:
    config = config_of(tmp_path, fleet, more=SKIP)
    await ship_first(config, fleet)
    async with open_shop(config, fleet, at("claim", "web1", "begin", fleet[0].stop)) as shop:
        answer = await shop.ship("sick", release="r2")
        assert states(answer) == {"web1": "untouched", "web2": "taken_back", "web3": "untouched"}
        assert not [line for line in shop.heard if line.startswith("web3: switch")]
        fleet[0].start()
        assert pages(fleet) == ["one"] * 3
        assert (await shop.app.store.deployment(answer["call_id"])).phase == "ended"  # one dead host locks no app


async def test_what_a_person_switched_meanwhile_is_left_to_them_and_the_app_is_free(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    async with open_shop(config, fleet) as shop:
        await shop.ship("two", release="r2")

    def by_hand() -> None:
        link = fleet[1].root / "shop/current"
        link.unlink()
        link.symlink_to("releases/r1")

    write_artifact(tmp_path, "three")
    async with open_shop(config, fleet, at("switch", "web2", "begin", by_hand)) as shop:
        answer = await shop.ship("three", release="r3")
        assert (answer["error"]["code"], answer["result"]["outcome"]) == ("STALE_STATE", "taken_back")
        assert [live(host) for host in fleet] == ["r2", "r1", "r2"]
        assert (await shop.ship("three", release="r3"))["state"] == "succeeded"


async def test_a_hook_that_still_runs_is_ended_before_its_host_is_taken_back(fleet: Fleet, tmp_path: Path) -> None:
    words = "echo begin $INTERLOCK_RELEASE >> log; [ $INTERLOCK_RELEASE = r1 ] || sleep 5; echo end >> log"
    hook = f'[apps.shop.hooks.activate]\nargv = ["/bin/sh", "-c", "cd uploads && {{ {words}; }}"]\n'
    config = config_of(tmp_path, fleet, more='shared = ["uploads"]', tables=hook)
    await ship_first(config, fleet)
    async with open_midway(config, fleet, "activate", "on record") as (shop, shipping, call_id):
        log = fleet[0].root / "shop/shared/uploads/log"
        await asyncio.to_thread(wait_for, lambda: "begin r2" in log.read_text(), "the hook")
        await shop.call("call_cancel", call_id=call_id)
        answer = await shipping
        assert answer["result"]["outcome"] == "taken_back"
        assert log.read_text().splitlines() == ["begin r1", "end", "begin r2", "begin r1", "end"]
        assert [(live(host), kept(host)) for host in fleet] == [("r1", {"r1"})] * 3


async def test_a_service_is_touched_only_on_hosts_that_the_caller_may_see(fleet: Fleet, tmp_path: Path) -> None:
    config = config_of(tmp_path, fleet)
    head, _, app = config.read_text().partition("[apps.shop]")
    small = '[principals.small]\nroles = ["operator"]\nhosts = ["web1"]\n'
    own = "[apps.shop]" + app.replace('hosts = ["*"]', 'hosts = ["web1"]')
    other = own.replace("apps.shop", "apps.hidden").replace('"web1"', '"web2"')
    config.write_text(f"{head}\n{small}\n{own}\n{other}")
    before = fleet[1].run(["sv", "status", "nginx"]).stdout.split()[3]
    async with open_app(load(config)) as house:
        arguments = {"service": "nginx", "action": "stop", "intent": "stop it", "wait_seconds": 30}
        answer = (await house.front.call(Request("small", "s", "deploy_service", arguments))).to_json()
        assert (answer["state"], states(answer)) == ("succeeded", {"web1": "done"})
        assert fleet[1].run(["sv", "status", "nginx"]).stdout.split()[3] == before
        hidden = (await house.front.call(Request("small", "s", "deploy_status", {"app": "hidden"}))).to_json()
        assert hidden["error"]["code"] == "APP_UNKNOWN"
        arguments |= {"action": "start", "intent": "start it"}
        await house.front.call(Request("small", "s", "deploy_service", arguments))


async def test_a_service_action_whose_host_reboots_ends_as_failed_once_the_host_is_back(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    dies = at("service", "web1", "on record", lambda: threading.Timer(0.25, fleet[0].stop).start())
    async with open_shop(config, fleet, dies) as shop:
        asked = {"service": "nginx", "action": "restart", "intent": "restart it", "wait_seconds": 60}
        answer = await shop.call("deploy_service", **asked)
        assert answer["state"] == "unknown"
        fleet[0].start()
        ended = await shop.settled(answer["call_id"])
        assert ended["state"] in ("failed", "succeeded"), ended
        assert (await shop.app.store.deployment(answer["call_id"])).phase == "ended"


async def test_what_was_approved_just_before_the_server_died_is_shipped_by_the_next_one(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet, env="prod")
    async with open_shop(config, fleet) as shop:
        asked = await shop.ship("one", release="r1", wait_seconds=0)
        approval = asked["result"]["approval_id"]
        await shop.app.store.decide_approval(approval, True, "mira", "", time.time())
    async with open_shop(config, fleet) as shop:
        await shop.app.approvals.take_up()
        ended = await shop.settled(asked["call_id"])
        assert (ended["state"], pages(fleet)) == ("succeeded", ["one"] * 3)


async def test_the_kill_switch_holds_back_the_next_batch_and_what_was_begun_is_taken_back(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet, tables="[apps.shop.hooks.after]\nargv = ['/bin/sleep', '1']\n")
    await ship_first(config, fleet)
    async with open_midway(config, fleet, "check", "end") as (shop, shipping, _):
        await shop.app.store.stop("host:web3", "mira", "it burns", time.time())
        answer = await shipping
        assert (answer["error"]["code"], answer["result"]["outcome"]) == ("STOPPED", "taken_back")
        assert states(answer) == {"web1": "taken_back", "web2": "untouched", "web3": "untouched"}


async def test_a_deployment_that_cannot_end_is_given_up_by_a_person(fleet: Fleet, tmp_path: Path) -> None:
    from interlock.admin import Admin

    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    async with open_shop(config, fleet, at("switch", "web2", "end", fleet[1].stop)) as shop:
        answer = await shop.ship("two", release="r2")
        assert answer["state"] == "unknown"
        done = await Admin(shop.app).call("deploy.end", {"name": "shop", "reason": "web2 is scrap"}, "mira")
        assert {entry["host"]: entry["state"] for entry in done["hosts"]}["web2"] == "unknown"
        ended = await shop.settled(answer["call_id"])
        assert (ended["state"], "web2 is scrap" in ended["error"]["message"]) == ("cancelled", True)
