"""kill -9 of the server at every step of a deployment: a restart ends it as its app says, from what the hosts say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_home import config_of, kept, kill_server, live, open_shop, pages, ship_first, tidy
from fleet import Fleet, needs_fleet, running_fleet
from interlock_tools.rollout import StepName
from sshd import needs_openssh

pytestmark = [pytest.mark.anyio, needs_openssh, needs_fleet]
FORWARD = ("claim", "upload", "place", "prepare", "switch", "activate", "service", "check", "after", "prune", "free")
BACK = ("claim_back", "switch_back", "activate_back", "service_back", "check_back", "drop", "free_back")
MOMENTS = ("on record", "done")  # before a step's effect, and after it with its end not yet on record
HOOKS = """
[apps.shop.hooks.prepare]
argv = ["/bin/sh", "-c", "echo prepare $INTERLOCK_RELEASE >> /srv/seen/steps"]
writes = ["/srv/seen"]
[apps.shop.hooks.activate]
argv = ["/bin/sh", "-c", "echo activate $INTERLOCK_RELEASE >> /srv/seen/steps"]
writes = ["/srv/seen"]
[apps.shop.hooks.after]
argv = ["/bin/sh", "-c", "echo after $INTERLOCK_RELEASE >> /srv/seen/steps"]
writes = ["/srv/seen"]
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("pair"), 2) as hosts:
        yield hosts


@pytest.fixture(autouse=True)
def _tidied(pair: Fleet) -> Iterator[None]:
    for host in pair:
        (host.root / "seen").mkdir(exist_ok=True)
    yield
    tidy(pair)


async def first_release(folder: Path, fleet: Fleet, on_restart: str) -> Path:
    """The shop with its first release live, and its configuration."""
    config = config_of(folder, fleet, more=f'on_restart = "{on_restart}"', tables=HOOKS)
    await ship_first(config, fleet)
    for host in fleet:
        (host.root / "seen/steps").unlink()
    return config


def twice(fleet: Fleet) -> list[str]:
    """What was done more than once on some host."""
    found = []
    for host in fleet:
        steps = host.root / "seen/steps"
        lines = steps.read_text().splitlines() if steps.exists() else []
        found += [f"{host.name}: {line}" for line in set(lines) if lines.count(line) > 1]
    return found


async def ended(folder: Path, fleet: Fleet, on_restart: str, artifact: str, step: str, host: str, moment: str) -> dict:
    """The end, after a restart, of a deployment whose server was killed there.

    Nothing was done twice on any host, the record still verifies, and the app is free again.
    """
    config = await first_release(folder, fleet, on_restart)
    kill_server(config, "shop", artifact, step, host, moment)
    async with open_shop(config, fleet) as shop:
        row = next(row for row in await shop.app.store.deployments("shop") if row.release == "r2")
        answer = await shop.settled(row.call_id)
        assert (await shop.app.store.deployment(row.call_id)).phase == "ended"
        assert (await shop.app.store.verify_chain()).ok
        after = await shop.ship("one", release="r1", mode="preview")  # the app is free again
        assert after["state"] == "succeeded"
    assert not twice(fleet)
    return answer


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", FORWARD)
async def test_a_killed_server_takes_the_app_back_where_the_app_says_so(
    pair: Fleet, tmp_path: Path, step: str, moment: str
) -> None:
    answer = await ended(tmp_path, pair, "take_back", "two", step, "web1", moment)
    if step in ("prune", "free"):  # all of it was live and healthy
        assert (answer["state"], pages(pair)) == ("succeeded", ["two"] * 2)
        assert [live(host) for host in pair] == ["r2"] * 2
    else:
        assert (answer["state"], answer["result"]["outcome"]) == ("cancelled", "taken_back")
        assert pages(pair) == ["one"] * 2
        assert [(live(host), kept(host)) for host in pair] == [("r1", {"r1"})] * 2


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", FORWARD)
async def test_a_killed_server_goes_on_where_the_app_says_so(
    pair: Fleet, tmp_path: Path, step: str, moment: str
) -> None:
    answer = await ended(tmp_path, pair, "continue", "two", step, "web2", moment)
    assert (answer["state"], answer["result"]["outcome"]) == ("succeeded", "live"), answer
    assert pages(pair) == ["two"] * 2
    assert [(live(host), kept(host)) for host in pair] == [("r2", {"r1", "r2"})] * 2


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", BACK)
async def test_a_server_killed_while_it_takes_back_goes_on_taking_back(
    pair: Fleet, tmp_path: Path, step: str, moment: str
) -> None:
    answer = await ended(tmp_path, pair, "continue", "sick", step, "web1", moment)
    assert (answer["error"]["code"], answer["result"]["outcome"]) == ("VERIFICATION_FAILED", "taken_back")
    assert pages(pair) == ["one"] * 2
    assert [(live(host), kept(host)) for host in pair] == [("r1", {"r1"})] * 2


def test_the_table_has_every_step() -> None:
    assert {*FORWARD, *BACK, "soak"} == {step.value for step in StepName}
