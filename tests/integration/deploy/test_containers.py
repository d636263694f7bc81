"""A container replaced by its image's digest, and the one before brought back: a real podman on real hosts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from containers_home import box_config, containers, images, page, podman, unbox
from deploy_home import kill_server, open_shop, states
from fleet import Fleet, needs_fleet, running_fleet
from fleet_engine import IMAGE, build_images, needs_engine
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet, needs_engine]
Digests = dict[str, str]


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> Digests:
    """The images that each host's registry has, by name their digests."""
    return build_images(tmp_path_factory.getbasetemp() / "images")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory, digests: Digests) -> Iterator[Fleet]:
    assert digests
    folder = tmp_path_factory.mktemp("boxes")
    with running_fleet(folder, 2, images=tmp_path_factory.getbasetemp() / "images") as hosts:
        yield hosts


@pytest.fixture(autouse=True)
def _unboxed(boxes: Fleet) -> Iterator[None]:
    yield
    unbox(boxes)


def image(digests: Digests, name: str) -> str:
    return f"sha256:{digests[name]}"


async def test_an_image_is_pulled_by_its_digest_and_its_container_takes_the_old_ones_place(
    boxes: Fleet, tmp_path: Path, digests: Digests
) -> None:
    async with open_shop(box_config(tmp_path, boxes), boxes) as shop:
        first = await shop.ship(image(digests, "one"), app="box")
        assert (first["state"], first["result"]["outcome"]) == ("succeeded", "live"), first
        assert [page(host) for host in boxes] == ["one"] * 2
        assert (first["scores"]["side_effects"], first["effects"]["observed"]) == (1.0, "confined")
        assert any(path.startswith("web1:/srv/box/releases/") for path in first["effects"]["created"])
        again = await shop.ship(f"{IMAGE}@{image(digests, 'one')}", app="box")
        assert again["result"]["outcome"] == "unchanged"
        second = await shop.ship(image(digests, "two"), app="box", release="r2")
        assert (second["state"], [page(host) for host in boxes]) == ("succeeded", ["two"] * 2), second
        assert [containers(host) for host in boxes] == [{"box": "running"}] * 2, "the one before is gone"
        back = await shop.call("deploy_rollback", app="box", intent="back", wait_seconds=60)
        assert (back["state"], [page(host) for host in boxes]) == ("succeeded", ["one"] * 2), back


async def test_a_sick_image_is_taken_back_to_the_very_container_that_ran_before(
    boxes: Fleet, tmp_path: Path, digests: Digests
) -> None:
    async with open_shop(box_config(tmp_path, boxes), boxes) as shop:
        await shop.ship(image(digests, "one"), app="box", release="r1")
        podman(boxes[0], "exec", "box", "/bin/busybox", "sh", "-c", "echo written > /written")
        before = podman(boxes[0], "inspect", "--format", "{{.Id}}", "box").stdout
        sick = await shop.ship(image(digests, "sick"), app="box", release="r2")
        assert (sick["state"], sick["error"]["code"]) == ("failed", "VERIFICATION_FAILED")
        assert states(sick) == {"web1": "taken_back", "web2": "untouched"}
        assert [page(host) for host in boxes] == ["one"] * 2
        assert podman(boxes[0], "inspect", "--format", "{{.Id}}", "box").stdout == before
        assert podman(boxes[0], "exec", "box", "/bin/busybox", "cat", "/written").stdout == "written\n"
        assert containers(boxes[0]) == {"box": "running"}


async def test_a_first_image_that_is_sick_leaves_no_container(boxes: Fleet, tmp_path: Path, digests: Digests) -> None:
    async with open_shop(box_config(tmp_path, boxes), boxes) as shop:
        answer = await shop.ship(image(digests, "sick"), app="box")
        assert answer["result"]["outcome"] == "taken_back"
        assert [containers(host) for host in boxes] == [{}] * 2


async def test_a_container_that_stopped_by_itself_is_told_and_shipped_anew(
    boxes: Fleet, tmp_path: Path, digests: Digests
) -> None:
    async with open_shop(box_config(tmp_path, boxes), boxes) as shop:
        await shop.ship(image(digests, "one"), app="box", release="r1")
        podman(boxes[1], "stop", "-t", "0", "box")
        status = (await shop.call("deploy_status", app="box"))["result"]
        assert [bool(host.get("drifted")) for host in status["hosts"]] == [False, True]
        answer = await shop.ship(image(digests, "one"), app="box", release="r1")
        assert (states(answer), page(boxes[1])) == ({"web2": "live"}, "one")


async def test_images_of_releases_that_are_not_kept_any_more_go(boxes: Fleet, tmp_path: Path, digests: Digests) -> None:
    async with open_shop(box_config(tmp_path, boxes), boxes) as shop:
        for name, release in (("one", "r1"), ("two", "r2"), ("one", "r3")):
            assert (await shop.ship(image(digests, name), app="box", release=release))["state"] == "succeeded"
        assert [images(host) for host in boxes] == [{digests["one"], digests["two"]}] * 2, "r3 needs the image of r1"
        for release in ("r4", "r5"):
            assert (await shop.ship(image(digests, "two"), app="box", release=release))["state"] == "succeeded"
        assert {entry.name for entry in (boxes[0].root / "box/releases").iterdir()} == {"r4", "r5"}
        assert [images(host) for host in boxes] == [{digests["two"]}] * 2


async def test_what_cannot_be_done_is_refused_with_a_typed_error_before_anything_changes(
    boxes: Fleet, tmp_path: Path, digests: Digests
) -> None:
    config = box_config(tmp_path, boxes)
    async with open_shop(config, boxes) as shop:
        for named in ("one", f"{IMAGE}:latest", "sha256:12", f"evil.example/shop@{image(digests, 'one')}"):
            error = (await shop.ship(named, app="box"))["error"]
            assert (error["code"], error["path"]) == ("ARGUMENT_INVALID", "artifact"), named
        absent = await shop.ship(f"sha256:{'0' * 64}", app="box")
        assert (absent["state"], absent["error"]["code"]) == ("failed", "COMMAND_FAILED")
        assert states(absent) == {"web1": "untouched", "web2": "untouched"}
        podman(boxes[1], "run", "-d", "--name", "box", "--network=host", f"{IMAGE}:two")
        foreign = await shop.ship(image(digests, "one"), app="box")
        assert (foreign["error"]["code"], "not this app's" in foreign["error"]["message"]) == ("STALE_STATE", True)
        assert (page(boxes[1]), containers(boxes[0])) == ("two", {})
    config.write_text(config.read_text().replace('name = "box"\n', 'name = "box"\nengine = "docker"\n'))
    async with open_shop(config, boxes) as shop:
        error = (await shop.ship(image(digests, "one"), app="box"))["error"]
        assert (error["code"], error["recovery"]["action"]) == ("ENGINE_UNAVAILABLE", "ask_human"), error
        assert "docker" in error["message"]


MOMENTS = (("upload", "done"), ("place", "done"), ("service", "on record"), ("service", "done"), ("check", "done"))
KILLED = [
    *((mode, "two", *where) for mode in ("take_back", "continue") for where in MOMENTS),
    ("continue", "sick", "service_back", "on record"),
    ("continue", "sick", "service_back", "done"),
]


@pytest.mark.parametrize(("on_restart", "artifact", "step", "moment"), KILLED)
async def test_a_killed_server_leaves_the_new_container_or_the_old_one(
    boxes: Fleet, tmp_path: Path, digests: Digests, on_restart: str, artifact: str, step: str, moment: str
) -> None:
    config = box_config(tmp_path, boxes, more=f'on_restart = "{on_restart}"')
    async with open_shop(config, boxes) as shop:
        assert (await shop.ship(image(digests, "one"), app="box", release="r1"))["state"] == "succeeded"
    kill_server(config, "box", image(digests, artifact), step, "web1", moment)
    async with open_shop(config, boxes) as shop:
        row = next(row for row in await shop.app.store.deployments("box") if row.release == "r2")
        answer = await shop.settled(row.call_id)
    goes_on = (on_restart, artifact) == ("continue", "two")
    assert answer["result"]["outcome"] == ("live" if goes_on else "taken_back"), answer
    assert [page(host) for host in boxes] == (["two"] if goes_on else ["one"]) * 2
    assert [containers(host) for host in boxes] == [{"box": "running"}] * 2
