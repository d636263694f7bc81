"""App claims: one deployment at a time, and nothing by whoever lost its claim. The disk is the witness."""

import fcntl
import json
import os
import time
from collections.abc import Iterator

import pytest

from .app_site import AppSite, app_site, artifact
from .test_layers import USER


@pytest.fixture
def site() -> Iterator[AppSite]:
    """An application of an ordinary user's, as far as we can become one."""
    with app_site(USER if os.geteuid() == 0 else os.geteuid()) as made:
        yield made


def claim(site: AppSite, deployment: str, fence: int, **head: object) -> str:
    """How a claim is answered."""
    told = site.ask("claim", deployment=deployment, fence=fence, **head)
    return "ok" if told["ok"] else told["fault"]


def on_disk(site: AppSite) -> dict:
    return json.loads(site.own("claim.json").read_text())


def test_a_claim_gives_way_to_a_newer_fence_of_its_own_and_to_others_when_it_is_over(site: AppSite) -> None:
    assert claim(site, "d1", 5) == "ok"
    assert claim(site, "d1", 5) == "ok", "the same one again renews it"
    assert (claim(site, "d1", 4), claim(site, "d2", 5), claim(site, "d2", 4)) == ("stale", "stale", "stale")
    held = site.ask("claim", deployment="d2", fence=6)
    assert (held["fault"], held["holder"], held["until"]) == ("busy", "d1", on_disk(site)["until"])
    assert claim(site, "d1", 6) == "ok", "its own next server takes over at once"
    assert site.ask("free", deployment="d1", fence=5)["fault"] == "stale"
    assert site.ask("free", deployment="d1", fence=6)["freed"]
    assert site.ask("free", deployment="d1", fence=6)["freed"], "once more it changes nothing"
    assert (claim(site, "d2", 6), claim(site, "d2", 7)) == ("stale", "ok")
    assert (on_disk(site)["deployment"], on_disk(site)["fence"], on_disk(site)["open"]) == ("d2", 7, True)


def test_a_claim_whose_lease_ran_out_gives_way(site: AppSite) -> None:
    assert claim(site, "d1", 1, lease_seconds=0.001) == "ok"
    assert claim(site, "d2", 2) == "ok"
    site.own("claim.json").write_text(json.dumps({**on_disk(site), "until": time.time() + 10**9}))
    assert claim(site, "d3", 3) == "ok", "a lease that no claim can have is of a clock that was set back"


def test_what_is_done_renews_the_lease(site: AppSite) -> None:
    site.claimed()
    site.placed("v1")
    site.ask("claim", lease_seconds=0.001)
    assert site.switch("v1", "", lease_seconds=500)["ok"]
    assert on_disk(site)["until"] > time.time() + 400


def test_of_two_who_claim_at_once_one_wins(site: AppSite) -> None:
    one, other = site.helper(), site.helper()
    for fence in range(1, 13):
        asked = {"op": "claim", "path": str(site.path), "fence": fence, "lease_seconds": 60}
        sent = [(each, each.send("app", deployment=f"d{n}", **asked)) for n, each in enumerate((one, other))]
        told = [each.wait(number) for each, number in sent]
        winners = [n for n, reply in enumerate(told) if reply["ok"]]
        assert len(winners) == 1, told
        assert on_disk(site)["deployment"] == f"d{winners[0]}"
        assert site.ask("free", deployment=f"d{winners[0]}", fence=fence)["freed"]


@pytest.mark.parametrize("lost", ["newer", "freed", "never"])
def test_whoever_does_not_hold_the_claim_changes_nothing(site: AppSite, lost: str) -> None:
    site.claimed().placed("v1", "v2")
    site.switch("v1", "")
    named = site.upload(artifact("v3"))
    if lost == "newer":
        assert claim(site, "d1", 2) == "ok"
    elif lost == "freed":
        site.ask("free")
    else:
        site.own("claim.json").unlink()
    before = site.disk()
    asked: list[tuple[str, bytes, dict[str, object]]] = [
        ("switch", b"", {"release": "v2", "expect": "v1"}),
        ("switch", b"", {"release": "v1", "expect": "v1"}),
        ("place", b"", {"release": "v3", "name": "x", **named}),
        ("upload", b"x", {"offset": 0, "sha256": "a" * 64, "bytes": 1}),
        ("prune", b"", {"keep": 0}),
        ("drop", b"", {"release": "v2"}),
    ]
    assert {site.ask(op, body, **head)["fault"] for op, body, head in asked} == {"stale"}
    assert site.disk() == before


def test_a_request_without_a_whole_claim_is_none(site: AppSite) -> None:
    wrong: list[dict[str, object]] = [
        {"deployment": ""}, {"deployment": "a b"}, {"deployment": 3}, {"fence": -1}, {"fence": "1"}, {"fence": True},
        {"lease_seconds": 0}, {"lease_seconds": 10**6}, {"lease_seconds": "1"},
    ]  # fmt: skip
    assert {site.ask("claim", **head)["fault"] for head in wrong} == {"bad_request"}
    assert not site.path.exists()
    assert site.ask("nothing")["fault"] == "bad_request"
    assert site.switch("v1", "")["fault"] == "stale", "there is no such folder to claim"


def test_a_step_waits_for_the_one_before_it_and_not_forever(site: AppSite) -> None:
    site.claimed()
    with site.own("lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        assert site.ask("prune", keep=1)["fault"] == "busy"
        assert 9 < time.monotonic() - began < 18
        one = site.helper()
        asked = {"path": str(site.path), "deployment": "d1", "fence": 1, "lease_seconds": 60, "keep": 1}
        number = one.send("app", op="prune", **asked)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert one.wait(number)["ok"]


def test_a_damaged_claim_is_told_and_nothing_is_taken_over(site: AppSite) -> None:
    site.claimed()
    site.own("claim.json").write_text("{")
    told = site.ask("claim", deployment="d2", fence=9)
    assert (told["fault"], str(site.own("claim.json")) in told["reason"]) == ("unavailable", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="two users")
def test_a_folder_of_another_user_is_told_by_its_name() -> None:
    with app_site(0) as roots:
        roots.claimed()
        with app_site(USER) as users:
            for op in ("look", "claim", "prune"):
                told = users.ask(op, path=str(roots.path), keep=1)
                assert (told["fault"], str(roots.path) in told["reason"]) == ("unavailable", True), told
        os.chown(roots.own(""), USER, USER)
        told = roots.ask("prune", keep=1)
        assert (told["fault"], str(USER) in told["reason"]) == ("unavailable", True)
