"""Files from templates on real hosts and back: all of a set, or what was there. The disks are the witness."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_home import at, kill_server, open_shop, states
from files_home import SECRET, clear, edge_config, etc, first_lines, write_set
from fleet import Fleet, needs_fleet
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet]


@pytest.fixture(autouse=True)
def _cleared(fleet: Fleet) -> Iterator[None]:
    yield
    clear(fleet)


def hand_made(fleet: Fleet) -> list[dict[str, tuple[str, int]]]:
    """A file that somebody made on each host before anything was shipped."""
    for host in fleet:
        host.run(["/bin/sh", "-c", "mkdir -p /srv/etc && echo healthy by hand > /srv/etc/edge.conf"])
        host.run(["/bin/sh", "-c", "chmod 604 /srv/etc/edge.conf"])
    return [etc(host) for host in fleet]


async def test_a_set_of_files_lands_on_every_host_with_that_hosts_own_values(fleet: Fleet, tmp_path: Path) -> None:
    hand_made(fleet)
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        answer = await shop.ship("first", app="edge")
        assert (answer["state"], answer["result"]["outcome"]) == ("succeeded", "live"), answer
        for host, workers in zip(fleet, (4, 2, 4), strict=True):
            text = f"# first of {host.name}\nworkers {workers}\npassword {SECRET}\nhealthy\n"
            assert etc(host) == {"edge.conf": (text, 0o640), "conf.d/a.conf": ("a of first\n", 0o644)}
            changed = answer["effects"]
            assert f"{host.name}:/srv/etc/edge.conf" in changed["modified"]
            assert {f"{host.name}:/srv/etc/conf.d", f"{host.name}:/srv/etc/conf.d/a.conf"} <= set(changed["created"])
        assert (answer["effects"]["observed"], answer["effects"]["undeclared"]) == ("confined", [])
        assert answer["scores"]["side_effects"] == 1.0
        again = await shop.ship("first", app="edge")
        assert again["result"]["outcome"] == "unchanged"


async def test_a_sick_set_is_taken_back_to_exactly_what_was_there_before(fleet: Fleet, tmp_path: Path) -> None:
    before = hand_made(fleet)
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        write_set(tmp_path, "sick", healthy=False)
        answer = await shop.ship("sick", app="edge", release="r1")
        assert (answer["state"], answer["error"]["code"]) == ("failed", "VERIFICATION_FAILED")
        assert states(answer) == {"web1": "taken_back", "web2": "untouched", "web3": "untouched"}
        assert [etc(host) for host in fleet] == before
        assert not [
            path for kind in ("created", "modified", "deleted") for path in answer["effects"][kind] if "etc" in path
        ]
        assert answer["scores"]["side_effects"] == 1.0
        assert (await shop.ship("first", app="edge", release="r2"))["state"] == "succeeded"
        second = [etc(host) for host in fleet]
        write_set(tmp_path, "sick2", healthy=False, a="other\n", b="more\n")
        assert (await shop.ship("sick2", app="edge", release="r3"))["state"] == "failed"
        assert [etc(host) for host in fleet] == second


async def test_a_rollback_goes_to_a_kept_set_and_to_what_was_there_before_the_first(
    fleet: Fleet, tmp_path: Path
) -> None:
    before = hand_made(fleet)
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        await shop.ship("first", app="edge", release="r1")
        first = [etc(host) for host in fleet]
        write_set(tmp_path, "second", a="a\n", b="b\n")
        assert (await shop.ship("second", app="edge", release="r2"))["state"] == "succeeded"
        assert set(etc(fleet[0])) == {"edge.conf", "conf.d/a.conf", "conf.d/b.conf"}
        back = await shop.call("deploy_rollback", app="edge", intent="back", wait_seconds=60)
        assert (back["state"], back["result"]["release"]) == ("succeeded", "r1"), back
        assert [etc(host) for host in fleet] == first, "the file that only the later set has is gone"
        back = await shop.call("deploy_rollback", app="edge", release="original", intent="back", wait_seconds=60)
        assert back["state"] == "succeeded", back
        assert [etc(host) for host in fleet] == before
        assert (await shop.ship("second", app="edge", release="r2"))["state"] == "succeeded"
        assert set(etc(fleet[0])) == {"edge.conf", "conf.d/a.conf", "conf.d/b.conf"}


async def test_what_drifted_is_told_and_shipped_over_and_comes_back_when_that_fails(
    fleet: Fleet, tmp_path: Path
) -> None:
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        await shop.ship("first", app="edge", release="r1")
        clean = [etc(host) for host in fleet]
        (fleet[1].root / "etc/conf.d/a.conf").write_text("edited by hand\n")
        status = (await shop.call("deploy_status", app="edge"))["result"]
        assert [host.get("drifted", []) for host in status["hosts"]] == [[], ["/srv/etc/conf.d/a.conf"], []]
        answer = await shop.ship("first", app="edge", release="r1")
        assert (states(answer), answer["result"]["unchanged"]) == ({"web2": "live"}, ["web1", "web3"])
        assert [etc(host) for host in fleet] == clean


async def test_a_human_is_shown_the_files_that_change_and_never_a_secret(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        await shop.ship("first", app="edge", release="r1")
        clean = [etc(host) for host in fleet]
        write_set(tmp_path, "second", a="a of second\n")
        preview = await shop.ship("second", app="edge", mode="preview")
        diff = preview["result"]["diff"]
        assert "modify /srv/etc/conf.d/a.conf on web1, web2, web3" in diff
        assert {"  -a of first", "  +a of second"} <= set(diff)
        assert "  +password [secret password]" in diff or "  +# second of web1" in diff
        assert [etc(host) for host in fleet] == clean
        assert SECRET not in json.dumps(preview)
    async with open_shop(edge_config(tmp_path, fleet, env="prod"), fleet) as shop:
        asked = await shop.ship("second", app="edge", wait_seconds=0)
        assert asked["state"] == "awaiting_approval"
        (approval,) = await shop.app.store.approvals()
        assert "diff:   +a of second" in approval.summary
        assert SECRET not in approval.summary
        await shop.app.approve(approval.approval_id, approve=True, by="anna", reason="seen")
        assert (await shop.settled(asked["call_id"]))["state"] == "succeeded"
        assert first_lines(fleet) == ["second"] * 3
    assert_secret_nowhere(tmp_path / "state")


async def test_a_file_that_is_a_secret_by_its_place_is_shown_to_nobody(fleet: Fleet, tmp_path: Path) -> None:
    config = edge_config(tmp_path, fleet, env="prod")
    config.write_text(config.read_text().replace("/srv/etc/conf.d/", "/srv/etc/.ssh/"))
    for host in fleet:
        host.run(["/bin/sh", "-c", "mkdir -p /srv/etc/.ssh && echo of-nobody-elses-business > /srv/etc/.ssh/a.conf"])
    async with open_shop(config, fleet) as shop:
        answer = await shop.ship("first", app="edge", wait_seconds=0)
        shown = json.dumps(answer) + "".join(approval.summary for approval in await shop.app.store.approvals())
        assert "of-nobody-elses-business" not in shown
        assert answer["state"] in ("awaiting_approval", "denied"), answer


async def test_what_somebody_changed_since_it_was_approved_is_not_written_over(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(edge_config(tmp_path, fleet, env="prod"), fleet) as shop:
        hand_made(fleet)
        asked = await shop.ship("first", app="edge", wait_seconds=0)
        (fleet[2].root / "etc/edge.conf").write_text("somebody else's\n")
        (approval,) = await shop.app.store.approvals()
        await shop.app.approve(approval.approval_id, approve=True, by="anna", reason="seen")
        answer = await shop.settled(asked["call_id"])
        assert answer["error"]["code"] == "APPROVAL_EXPIRED"
        assert etc(fleet[2]) == {"edge.conf": ("somebody else's\n", 0o604)}
        assert not (fleet[0].root / "edge").exists()


async def test_what_somebody_changed_while_it_was_shipped_is_left_and_said(fleet: Fleet, tmp_path: Path) -> None:
    before = hand_made(fleet)

    def meddle() -> None:
        (fleet[0].root / "etc/edge.conf").write_text("somebody else's\n")

    async with open_shop(edge_config(tmp_path, fleet), fleet, at("check", "web1", "begin", meddle)) as shop:
        answer = await shop.ship("first", app="edge", release="r1")
        assert (answer["state"], states(answer)["web1"]) == ("failed", "other")
        assert "/srv/etc/edge.conf" in answer["error"]["message"]
    assert etc(fleet[0]) == {"edge.conf": ("somebody else's\n", 0o640)}, "and the rest of the set is gone again"
    assert [etc(host) for host in fleet][1:] == before[1:]


async def test_what_no_set_can_replace_is_refused_before_anything_is_sent(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        for host in fleet:
            host.run(["/bin/sh", "-c", "mkdir -p /srv/etc && ln -s /etc/passwd /srv/etc/edge.conf"])
        answer = await shop.ship("first", app="edge")
        assert (answer["error"]["code"], "is a link" in answer["error"]["message"]) == ("STALE_STATE", True)
        assert (answer["error"]["recovery"]["action"], (fleet[0].root / "edge").exists()) == ("ask_human", False)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("edge.conf.tmpl", "workers {{ wrokers }}", "wrokers"),
        ("edge.conf.tmpl", "workers {{ workers", "begins no value"),
        ("edge.conf.tmpl", "{{ password.__class__ }}", "begins no value"),
        ("other.conf", "x", "edge.conf.tmpl"),
    ],
)
async def test_a_set_that_cannot_be_made_is_refused_with_what_is_wrong(
    fleet: Fleet, tmp_path: Path, name: str, text: str, said: str
) -> None:
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        made = write_set(tmp_path, "bad")
        (made / "edge.conf.tmpl").unlink()
        (made / name).write_text(text)
        error = (await shop.ship("bad", app="edge"))["error"]
        assert (error["code"], error["path"], said in error["message"]) == ("ARGUMENT_INVALID", "artifact", True)
        assert not (fleet[0].root / "edge").exists()
        where = {"artifact_host": "web1", "sha256": "0" * 64}
        assert (await shop.ship("/srv/set.tar", app="edge", **where))["error"]["path"] == "artifact_host"


async def test_a_file_that_is_not_configured_any_more_is_not_brought_back(fleet: Fleet, tmp_path: Path) -> None:
    config = edge_config(tmp_path, fleet)
    async with open_shop(config, fleet) as shop:
        await shop.ship("first", app="edge", release="r1")
    config.write_text(config.read_text().replace("/srv/etc/conf.d/", "/srv/etc/other.d/"))
    async with open_shop(config, fleet) as shop:
        write_set(tmp_path, "second")
        assert (await shop.ship("second", app="edge", release="r2"))["state"] == "succeeded"
        assert set(etc(fleet[0])) == {"edge.conf", "other.d/a.conf"}
        back = await shop.call("deploy_rollback", app="edge", release="r1", intent="back", wait_seconds=60)
        assert (back["error"]["code"], "conf.d/a.conf" in back["error"]["message"]) == ("STALE_STATE", True)
        assert set(etc(fleet[0])) == {"edge.conf", "other.d/a.conf"}


async def test_an_agent_does_not_read_the_kept_sets_in_which_a_secret_lies(fleet: Fleet, tmp_path: Path) -> None:
    async with open_shop(edge_config(tmp_path, fleet), fleet) as shop:
        await shop.ship("first", app="edge", release="r1")
        command = "cat /srv/edge/releases/r1/files/edge.conf.tmpl /srv/edge/releases/r1/.set.json | base64"
        answer = await shop.call("shell_run", host="web1", command=command, wait_seconds=20)
        assert answer["result"].get("stdout", "") == "", answer


MOMENTS = ("on record", "done")  # before a step's effect, and after it with its end not yet on record
KILLED = [
    *((mode, "second", step) for mode in ("take_back", "continue") for step in ("upload", "place", "switch", "check")),
    *(("continue", "sick", step) for step in ("switch_back", "drop", "free_back")),
]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("on_restart", "artifact", "step"), KILLED)
async def test_a_killed_server_leaves_all_of_a_set_or_what_was_there(
    fleet: Fleet, tmp_path: Path, on_restart: str, artifact: str, step: str, moment: str
) -> None:
    hand_made(fleet)
    config = edge_config(tmp_path, fleet, more=f'on_restart = "{on_restart}"')
    write_set(tmp_path, "second", a="a of second\n", b="new\n")
    write_set(tmp_path, "sick", healthy=False)
    async with open_shop(config, fleet) as shop:
        assert (await shop.ship("first", app="edge", release="r1"))["state"] == "succeeded"
    before = [etc(host) for host in fleet]
    kill_server(config, "edge", artifact, step, "web1", moment)
    async with open_shop(config, fleet) as shop:
        row = next(row for row in await shop.app.store.deployments("edge") if row.release == "r2")
        answer = await shop.settled(row.call_id)
    if (on_restart, artifact) == ("continue", "second"):
        assert (answer["state"], first_lines(fleet)) == ("succeeded", ["second"] * 3)
        assert [set(etc(host)) for host in fleet] == [{"edge.conf", "conf.d/a.conf", "conf.d/b.conf"}] * 3
    else:
        assert answer["result"]["outcome"] == "taken_back"
        assert [etc(host) for host in fleet] == before


def assert_secret_nowhere(state: Path) -> None:
    """The secret is in no record: not in the database, nor in what calls printed."""
    for path in state.rglob("*"):
        if path.is_file() and "artifacts" not in path.parts:
            assert SECRET.encode() not in path.read_bytes(), path
    with sqlite3.connect(next(state.glob("*.db"))) as store:
        assert SECRET not in "\n".join(store.iterdump())
