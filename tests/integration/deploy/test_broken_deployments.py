"""What goes wrong with a deployment, and is said: hosts go, disks fill, artifacts are not what they were."""

import asyncio
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_home import (
    Shop,
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
from interlock.ports import SHUTDOWN
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet, pytest.mark.usefixtures("tidied")]


def untouched(fleet: Fleet, release: str = "r1") -> bool:
    """Whether every host has just the release that was there before, live and served."""
    return [(live(host), kept(host)) for host in fleet] == [(release, {release})] * len(fleet.hosts)


# ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_host_that_is_away_stops_all_before_anything_is_changed_or_is_left_out_as_the_app_says(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet[1].stop()
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        answer = await shop.ship("one")
        assert (answer["error"]["code"], "web2" in answer["error"]["message"]) == ("HOST_UNREACHABLE", True)
        assert not any((host.root / "shop").exists() for host in fleet)
    async with open_shop(config_of(tmp_path, fleet, more='unreachable = "skip"'), fleet) as shop:
        answer = await shop.ship("one", release="r1")
        assert (answer["state"], states(answer)) == ("succeeded", {"web1": "live", "web3": "live"})
        assert [entry["host"] for entry in answer["result"]["skipped"]] == ["web2"]
        assert any("web2" in notice for notice in answer["notices"])
        fleet[1].start()
        again = await shop.ship("one", release="r1")  # the one that was left out gets it now
        assert (again["state"], states(again), pages(fleet)) == ("succeeded", {"web2": "live"}, ["one"] * 3)


async def test_a_host_that_goes_after_its_switch_is_unknown_until_it_is_back_and_is_then_taken_back(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    async with open_shop(config, fleet, at("switch", "web2", "end", fleet[1].stop)) as shop:
        answer = await shop.ship("two", release="r2")
        assert (answer["state"], answer["error"]["code"]) == ("unknown", "OUTCOME_UNKNOWN")
        assert states(answer) == {"web1": "taken_back", "web2": "unknown", "web3": "taken_back"}
        assert [live(host) for host in fleet] == ["r1", "r2", "r1"]  # the disk: said as it is
        assert fleet[0].get("/")[1] == fleet[2].get("/")[1] == "one\n"
        other = await shop.call("deploy_rollback", app="shop", intent="another way", wait_seconds=20)
        assert other["state"] != "succeeded"
        fleet[1].start()
        ended = await shop.settled(answer["call_id"])
        assert (ended["state"], states(ended)["web2"]) == ("failed", "taken_back")
        assert (untouched(fleet), pages(fleet)) == (True, ["one"] * 3)


async def test_a_host_that_goes_while_it_is_made_ready_is_left_out_or_ends_it(fleet: Fleet, tmp_path: Path) -> None:
    gone = at("claim", "web3", "end", fleet[2].stop)
    async with open_shop(config_of(tmp_path, fleet, more='unreachable = "skip"'), fleet, gone) as shop:
        answer = await shop.ship("one", release="r1")
        assert (answer["state"], states(answer)) == ("succeeded", {"web1": "live", "web2": "live", "web3": "skipped"})
        assert [live(host) for host in fleet] == ["r1", "r1", ""]


async def test_a_dropped_connection_changes_nothing_of_the_outcome(fleet: Fleet, tmp_path: Path) -> None:
    for step in ("upload", "switch", "service"):
        cut = at(step, "web1", "on record", fleet[0].cut)
        write_artifact(tmp_path, f"page-{step}")
        async with open_shop(config_of(tmp_path, fleet), fleet, cut) as shop:
            answer = await shop.ship(f"page-{step}")
            assert answer["state"] == "succeeded", answer
            assert pages(fleet) == [f"page-{step}"] * 3


async def test_a_large_upload_that_is_cut_goes_on_where_it_stopped(fleet: Fleet, tmp_path: Path) -> None:
    config = config_of(tmp_path, fleet)
    (tmp_path / "artifacts/one/large").write_bytes(os.urandom(96 * 1024 * 1024))
    cuts: list[str] = []

    def cut_once(sentence: str) -> None:
        if "% of the artifact" in sentence and not cuts:
            cuts.append(sentence)
            fleet.named(sentence.partition(":")[0]).cut()

    async with open_shop(config, fleet) as shop:
        shop.on_progress = cut_once
        answer = await shop.ship("one", release="r1")
        assert (answer["state"], pages(fleet), len(cuts)) == ("succeeded", ["one"] * 3, 1), answer
        for host in fleet:
            assert (host.root / "shop/current/large").read_bytes() == (tmp_path / "artifacts/one/large").read_bytes()
            assert not list((host.root / "shop/.interlock").glob("upload-*"))


async def test_a_full_disk_on_one_host_ends_it_before_anything_is_live(
    start_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    fleet = start_fleet(2, disk_bytes=64 * 1024 * 1024)
    write_artifact(tmp_path, "two")
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        await shop.ship("one", release="r1")
        fleet[1].fill()
        answer = await shop.ship("two", release="r2")
        assert (answer["result"]["outcome"], set(states(answer).values())) == ("taken_back", {"untouched"}), answer
        assert "web2" in answer["error"]["message"]
        assert (pages(fleet), [live(host) for host in fleet]) == (["one"] * 2, ["r1"] * 2)
        fleet[1].unfill()
        assert (await shop.ship("two", release="r2"))["state"] == "succeeded"


# ── two at once, and who gives up ────────────────────────────────────────────────────────────────────────────────────


async def test_of_two_deployments_at_once_one_goes_on_and_the_other_is_told_who_has_the_app(
    fleet: Fleet, tmp_path: Path
) -> None:
    write_artifact(tmp_path, "two")
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        both = await asyncio.gather(shop.ship("one", release="r1"), shop.ship("two", release="r2"))
        won = next(answer for answer in both if answer["state"] == "succeeded")
        lost = next(answer for answer in both if answer is not won)
        assert (lost["error"]["code"], lost["error"]["allowed"]) == ("CONCURRENCY_LIMITED", [won["call_id"]])
        assert len(set(pages(fleet))) == 1
        assert [live(host) for host in fleet] == [won["result"]["release"]] * 3


async def test_another_servers_deployment_is_not_run_over(fleet: Fleet, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    write_artifact(second, "two")
    answers: list[dict] = []
    slow = '[apps.shop.hooks.activate]\nargv = ["/bin/sleep", "3"]\n'
    async with open_shop(config_of(second, fleet), fleet) as other:
        await other.status()
        reached = asyncio.Event()
        meanwhile = at("switch", "web1", "end", reached.set)

        async def race() -> None:
            await reached.wait()
            answers.append(await other.ship("two", release="r2"))

        async with open_shop(config_of(first, fleet, tables=slow), fleet, meanwhile) as shop:
            won, _ = await asyncio.gather(shop.ship("one", release="r1"), race())
    assert (won["state"], answers[0]["error"]["code"]) == ("succeeded", "CONCURRENCY_LIMITED"), answers
    assert [live(host) for host in fleet] == ["r1"] * 3


async def test_who_cancels_has_all_of_it_taken_back(fleet: Fleet, tmp_path: Path) -> None:
    config = config_of(tmp_path, fleet)
    await ship_first(config, fleet)
    async with open_midway(config, fleet, "check", "end") as (shop, shipping, call_id):
        cancelled = await shop.call("call_cancel", call_id=call_id)
        assert cancelled["ok"]
        answer = await shipping
        assert (answer["error"]["code"], answer["result"]["outcome"]) == ("CANCELLED", "taken_back")
        assert (untouched(fleet), pages(fleet)) == (True, ["one"] * 3)


async def test_a_deployment_that_is_out_of_time_is_taken_back_and_its_hook_is_ended(
    fleet: Fleet, tmp_path: Path
) -> None:
    hook = '[apps.shop.hooks.activate]\nargv = ["/bin/sleep", "987"]\n'
    async with open_shop(config_of(tmp_path, fleet, tables=hook), fleet) as shop:
        answer = await shop.ship("one", timeout_seconds=3)
        assert (answer["error"]["code"], answer["result"]["outcome"]) == ("TIMED_OUT", "taken_back")
        assert [live(host) for host in fleet] == [""] * 3  # there was no release before
        assert not [line for host in fleet for line in host.processes().values() if "sleep 987" in line]


async def test_a_server_that_is_stopped_in_good_order_leaves_it_to_the_next_one(fleet: Fleet, tmp_path: Path) -> None:
    config = config_of(tmp_path, fleet, more='on_restart = "continue"')
    await ship_first(config, fleet)
    async with open_midway(config, fleet, "check", "end") as (_, shipping, call_id):
        pass  # it is stopped here
    stopped = await shipping
    assert stopped["state"] in ("unknown", "running"), (stopped, SHUTDOWN)
    async with open_shop(config, fleet) as shop:
        ended = await shop.settled(call_id)
        assert (ended["state"], ended["result"]["outcome"], pages(fleet)) == ("succeeded", "live", ["two"] * 3)


# ── artifacts ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_artifact_that_is_not_what_was_meant_is_refused_before_anything_is_sent(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet)
    built = tmp_path / "artifacts/app.bin"
    built.write_bytes(b"built\n")
    built.with_name("app.bin.sha256").write_text(f"{'0' * 64}  app.bin\n")
    async with open_shop(config, fleet) as shop:
        tampered = await shop.ship("app.bin")
        other = await shop.ship("one", sha256="1" * 64)
        outside = await shop.ship("../interlock.toml")
        missing = await shop.ship("onne")
        assert [answer["error"]["code"] for answer in (tampered, other)] == ["STALE_STATE"] * 2
        assert [answer["error"]["code"] for answer in (outside, missing)] == ["ARGUMENT_INVALID"] * 2
        assert "one" in missing["error"]["allowed"]
        assert not any((host.root / "shop").exists() for host in fleet)


async def test_an_artifact_that_changes_after_it_was_approved_reaches_no_host_as_a_release(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet)
    built = tmp_path / "artifacts/app.bin"
    built.write_bytes(b"a" * 5_000)
    swapped = at("upload", "web1", "on record", lambda: built.write_bytes(b"b" * 5_000))
    async with open_shop(config, fleet, swapped) as shop:
        answer = await shop.ship("app.bin")
        assert (answer["error"]["code"], answer["result"]["outcome"]) == ("STALE_STATE", "taken_back"), answer
        assert [(live(host), kept(host)) for host in fleet] == [("", set())] * 3


@pytest.mark.parametrize("member", ["../evil", "/srv/evil", "public/../../../evil"])
async def test_an_archive_that_climbs_out_of_its_release_is_refused_whole(
    fleet: Fleet, tmp_path: Path, member: str
) -> None:
    config = config_of(tmp_path, fleet)
    with tarfile.open(tmp_path / "artifacts/climbs.tar", "w") as archive:
        for name in ("public/index.html", member):
            entry = tarfile.TarInfo(name)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"evil\n"))
    async with open_shop(config, fleet) as shop:
        answer = await shop.ship("climbs.tar")
        assert (answer["error"]["code"], answer["result"]["outcome"]) == ("STALE_STATE", "taken_back"), answer
        assert member.rpartition("/")[2] in answer["error"]["message"]
        for host in fleet:
            assert not [path for path in host.root.rglob("*") if path.name in ("evil", "index.html")]


async def test_what_an_earlier_call_printed_can_be_shipped(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        made = await shop.call("shell_run", host="web1", command="echo made there", wait_seconds=20)
        sent = {"app": "shop", "artifact_call": made["call_id"], "release": "text", "intent": "ship it"}
        answer = await shop.call("deploy_release", **sent, mode="preview")
        assert (answer["state"], answer["result"]["plan"]["artifact"]["bytes"]) == ("succeeded", 11), answer
        other = await shop.call("deploy_release", **{**sent, "artifact_call": "c_" + "0" * 32})
        assert other["error"]["code"] == "ARGUMENT_INVALID"


async def test_what_lies_on_a_host_is_shipped_by_its_hash_where_policy_lets_it_be_read(
    fleet: Fleet, tmp_path: Path
) -> None:
    built = fleet[1].root / "built.bin"
    built.write_bytes(b"built there\n")
    digest = hashlib.sha256(b"built there\n").hexdigest()
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        there = {"artifact_host": "web2", "sha256": digest, "release": "r1"}
        unnamed = await shop.ship("/srv/built.bin", artifact_host="web2")
        other = await shop.ship("/srv/built.bin", **{**there, "sha256": "1" * 64})
        secret = await shop.ship("/etc/shadow", **there, wait_seconds=0)
        missing = await shop.ship("/srv/nothing.bin", **there)
        codes = [answer["error"]["code"] for answer in (unnamed, other, missing)]
        assert codes == ["ARGUMENT_MISSING", "STALE_STATE", "PATH_INVALID"]
        assert (secret["state"], "base.secret" in secret["error"]["rules"]) == ("awaiting_approval", True)
        assert not any((host.root / "shop").exists() for host in fleet)
        answer = await shop.ship("/srv/built.bin", **there)
        assert answer["result"]["outcome"] == "taken_back"  # it has no page that is healthy
        checked = [step for step in await shop.app.store.steps(answer["call_id"]) if step.step == "place"]
        assert [step.state for step in checked] == ["done"] * 3
        assert not list((tmp_path / "state/artifacts").glob(".*"))
    built.unlink()


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def asked(shop: Shop, artifact: str, release: str) -> tuple[dict, str]:
    answer = await shop.ship(artifact, release=release, wait_seconds=0)
    assert answer["state"] == "awaiting_approval", answer
    approval = await shop.app.store.approval(answer["result"]["approval_id"])
    return answer, approval.summary


async def test_in_production_a_person_sees_the_plan_host_by_host_and_exactly_that_is_done(
    fleet: Fleet, tmp_path: Path
) -> None:
    config = config_of(tmp_path, fleet, env="prod")
    write_artifact(tmp_path, "two")
    async with open_shop(config, fleet) as shop:
        answer, summary = await asked(shop, "one", "r1")
        assert "canary: web1: (nothing) → r1" in summary
        assert "web3" in summary
        assert not any((host.root / "shop").exists() for host in fleet)
        await shop.app.approve(answer["result"]["approval_id"], True, "mira", "")
        ended = await shop.settled(answer["call_id"])
        assert (ended["state"], pages(fleet)) == ("succeeded", ["one"] * 3)
        answer, _ = await asked(shop, "two", "r2")
    async with open_shop(config, fleet) as shop:  # approved after a restart
        await shop.app.approve(answer["result"]["approval_id"], True, "mira", "")
        ended = await shop.settled(answer["call_id"])
        assert (ended["state"], pages(fleet)) == ("succeeded", ["two"] * 3), ended


async def test_an_approval_holds_for_no_other_plan_than_the_one_that_was_seen(fleet: Fleet, tmp_path: Path) -> None:
    config = config_of(tmp_path, fleet, env="prod")
    async with open_shop(config, fleet) as shop:
        answer, _ = await asked(shop, "one", "r1")
        (tmp_path / "artifacts/one/public/index.html").write_text("something else\n")
        await shop.app.approve(answer["result"]["approval_id"], True, "mira", "")
        ended = await shop.settled(answer["call_id"])
        assert ended["error"]["code"] == "APPROVAL_EXPIRED"
        assert not any((host.root / "shop").exists() for host in fleet)


async def test_a_freeze_holds_back_a_release_and_not_a_rollback(fleet: Fleet, tmp_path: Path) -> None:
    write_artifact(tmp_path, "two")
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        for name, release in (("one", "r1"), ("two", "r2")):
            await shop.ship(name, release=release)
    freeze = '[[apps.shop.freezes]]\nfirst = "2020-01-01"\nlast = "2099-12-31"\nreason = "the year end"\n'
    async with open_shop(config_of(tmp_path, fleet, tables=freeze), fleet) as shop:
        write_artifact(tmp_path, "three")
        held = await shop.ship("three", release="r3", wait_seconds=0)
        assert (held["state"], "deploy.freeze" in held["error"]["rules"]) == ("awaiting_approval", True)
        back = await shop.call("deploy_rollback", app="shop", intent="two is broken", wait_seconds=60)
        assert (back["state"], pages(fleet)) == ("succeeded", ["one"] * 3)


async def test_the_same_key_ships_once(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(config_of(tmp_path, fleet), fleet) as shop:
        first = await shop.ship("one", idempotency_key="ship-42")
        again = await shop.ship("one", idempotency_key="ship-42")
        assert (again["replayed"], again["call_id"], again["result"]) == (True, first["call_id"], first["result"])
        assert len(await shop.app.store.deployments("shop")) == 1
