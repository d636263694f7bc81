"""Sets of files: all of a set comes to its targets or what was there comes back. The disk is the witness."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from archives import entry, tar_of

from .app_site import AppSite, app_site
from .test_layers import USER

UID = USER if os.geteuid() == 0 else os.geteuid()
ABSENT = "absent"
Files = dict[str, bytes]  # by target, below `etc` of the site


@pytest.fixture
def site() -> Iterator[AppSite]:
    """An application of an ordinary user's, and an `etc` beside it with a file that was there before."""
    with app_site(UID) as made:
        etc = made.ground / "etc"
        etc.mkdir()
        (etc / "a.conf").write_text("hand-made\n")
        (etc / "a.conf").chmod(0o640)
        os.utime(etc / "a.conf", ns=(10**18, 10**18))
        for path in (etc, etc / "a.conf"):
            os.chown(path, UID, UID)
        yield made.claimed()


def sha(data: bytes | None) -> str:
    return ABSENT if data is None else hashlib.sha256(data).hexdigest()


def placed(site: AppSite, release: str, files: Files, **more: object) -> None:
    """A set of files as a release."""
    targets = {str(site.ground / "etc" / name): data for name, data in files.items()}
    record = [
        {"target": target, "name": f"n{number}", "sha256": sha(data), **more}
        for number, (target, data) in enumerate(targets.items())
    ]
    members = [entry(f"files/n{number}", data=data) for number, data in enumerate(targets.values())]
    packed = tar_of([entry(".set.json", data=json.dumps({"files": record}).encode()), *members])
    assert site.place(release, packed, private=True)["placed"]


def wanted(site: AppSite, before: Files, after: Files) -> list[dict[str, str]]:
    """Each file with what is expected there and what it is to become."""
    return [
        {
            "target": str(site.ground / "etc" / name),
            "real": str(site.ground / "etc" / name),
            "expect": sha(before.get(name)),
            "after": sha(after.get(name)),
        }
        for name in {**before, **after}
    ]


def tree(site: AppSite) -> dict[str, tuple[bytes, int, int, int]]:
    """What lies below `etc`: content, mode, owner, time."""
    return {
        str(path.relative_to(site.ground)): (
            path.read_bytes(), stat.S_IMODE(path.stat().st_mode), path.stat().st_uid, path.stat().st_mtime_ns,
        )
        for path in sorted((site.ground / "etc").rglob("*"))
        if path.is_file()
    }  # fmt: skip


def handed_over(site: AppSite, before: dict[str, object], by: dict[str, object]) -> dict[str, object]:
    """The claim goes from one deployment to the next."""
    assert site.ask("free", **before)["ok"]
    assert site.ask("claim", **by)["ok"]
    return by


OLD: Files = {"a.conf": b"hand-made\n"}
ONE: Files = {"a.conf": b"one\n", "conf.d/b.conf": b"new\n"}
TWO: Files = {"a.conf": b"two\n"}


def test_a_set_lands_whole_and_what_was_there_comes_back_exactly(site: AppSite) -> None:
    before = tree(site)
    placed(site, "r1", ONE)
    files = wanted(site, OLD, ONE)
    told = site.ask("land", release="r1", expect="", files=files)
    assert told["ok"], told
    assert {(change["op"], Path(change["path"]).name) for change in told["changes"]} == {
        ("modify", "a.conf"),
        ("create", "conf.d"),
        ("create", "b.conf"),
        ("create", "original"),
        ("create", "current"),
    }
    landed = tree(site)
    assert {name: found[0] for name, found in landed.items()} == {"etc/a.conf": b"one\n", "etc/conf.d/b.conf": b"new\n"}
    assert landed["etc/a.conf"][1:3] == before["etc/a.conf"][1:3], "mode and owner of what it replaces are kept"
    assert os.readlink(site.path / "current") == "releases/r1"
    assert stat.S_IMODE((site.path / "releases/r1").stat().st_mode) == 0o700, "a set may hold secrets"
    again = site.ask("land", release="r1", expect="", files=files)
    assert (again["ok"], again["changes"]) == (True, told["changes"]), "once more it goes on to the same end"

    assert site.ask("return", release="", expect="r1", files=files)["ok"]
    assert tree(site) == before
    assert not (site.ground / "etc/conf.d").exists(), "a folder that was made for it goes with it"
    assert not (site.path / "current").is_symlink()
    assert site.ask("return", release="", expect="r1", files=files)["ok"], "once more it changes nothing"
    assert tree(site) == before
    left = [Path(change["path"]).name for change in site.ask("free")["changes"]]
    assert sorted(left) == ["app", "original", "r1", "releases", "shared"], "and nothing of that is told to be changed"


def test_a_later_set_removes_what_it_does_not_have_and_the_first_state_is_kept_as_a_release(site: AppSite) -> None:
    before = tree(site)
    placed(site, "r1", ONE)
    placed(site, "r2", TWO)
    assert site.ask("land", release="r1", expect="", files=wanted(site, OLD, ONE))["ok"]
    by = handed_over(site, {"deployment": "d1", "fence": 1}, {"deployment": "d2", "fence": 2})
    assert site.ask("land", release="r2", expect="r1", files=wanted(site, ONE, TWO), **by)["ok"]
    assert {name: found[0] for name, found in tree(site).items()} == {"etc/a.conf": b"two\n"}

    look = site.ask("look", targets=[])
    assert set(look["sets"]) == {"r1", "r2", "original"}
    assert look["targets"][str(site.ground / "etc/a.conf")]["state"] == sha(b"two\n")
    back = wanted(site, TWO, OLD) + [
        {**file, "expect": ABSENT, "after": ABSENT} for file in wanted(site, ONE, ONE) if "b.conf" in file["target"]
    ]
    by = handed_over(site, by, {"deployment": "d3", "fence": 3})
    told = site.ask("land", release="original", expect="r2", files=back, **by)
    assert told["ok"], told
    assert tree(site) == before, "with its mode, owner and time"


@pytest.mark.parametrize("step", ["app-saved", "app-landed", "app-switched"])
def test_a_worker_that_is_killed_in_a_landing_is_followed_by_one_that_goes_on_or_goes_back(
    site: AppSite, step: str
) -> None:
    before = tree(site)
    placed(site, "r1", ONE)
    files = wanted(site, OLD, ONE)
    told = site.ask("land", by=site.helper(f"{step}=kill"), release="r1", expect="", files=files)
    assert not told.get("ok"), "it was killed"
    assert site.ask("return", release="", expect="r1", files=files)["ok"]
    assert tree(site) == before
    assert site.ask("land", release="r1", expect="", files=files)["ok"]
    assert {name: found[0] for name, found in tree(site).items()} == {
        "etc/a.conf": b"one\n",
        "etc/conf.d/b.conf": b"new\n",
    }
    told = site.ask("return", by=site.helper("app-returned=kill"), release="", expect="r1", files=files)
    assert not told.get("ok")
    assert site.ask("return", release="", expect="r1", files=files)["ok"]
    assert tree(site) == before


def test_what_somebody_else_changed_is_never_written_over(site: AppSite) -> None:
    placed(site, "r1", ONE)
    files = wanted(site, OLD, ONE)
    theirs = site.ground / "etc/a.conf"
    theirs.write_text("theirs\n")
    told = site.ask("land", release="r1", expect="", files=files)
    assert told["fault"] == "stale"
    assert (theirs.read_text(), (site.ground / "etc/conf.d").exists()) == ("theirs\n", False), "nothing was begun"

    theirs.write_text("hand-made\n")
    assert site.ask("land", release="r1", expect="", files=files)["ok"]
    theirs.write_text("theirs again\n")
    told = site.ask("return", release="", expect="r1", files=files)
    assert (told["fault"], "a.conf" in told["reason"]) == ("stale", True)
    assert theirs.read_text() == "theirs again\n"
    assert not (site.ground / "etc/conf.d/b.conf").exists(), "what was ours went back all the same"
    image = json.loads((site.own("before") / "d1/.set.json").read_text())["files"][0]
    assert (site.own("before") / "d1/files" / image["name"]).read_text() == "hand-made\n", "and is not lost"


def test_a_landing_that_meets_a_change_in_its_middle_says_that_it_has_to_go_back(site: AppSite) -> None:
    before = tree(site)
    placed(site, "r1", ONE)
    files = wanted(site, OLD, ONE)
    assert not site.ask("land", by=site.helper("app-landed=kill"), release="r1", expect="", files=files).get("ok")
    theirs = site.ground / "etc/conf.d/b.conf"
    theirs.parent.mkdir()
    theirs.write_text("theirs\n")
    for path in (theirs, theirs.parent):
        os.chown(path, UID, UID)
    told = site.ask("land", release="r1", expect="", files=files)
    assert (told["fault"], theirs.read_text()) == ("broken_off", "theirs\n")
    assert site.ask("return", release="", expect="r1", files=files)["fault"] == "stale", "it names what is theirs"
    theirs.unlink()
    assert tree(site) == before


def test_as_many_files_as_two_sets_can_have_come_back_all_of_them(site: AppSite) -> None:
    old = {f"d/{number}": b"old\n" for number in range(500)}
    new = {f"e/{number}": b"new\n" for number in range(500)}
    for folder in ("d", "e"):
        (site.ground / "etc" / folder).mkdir()
        os.chown(site.ground / "etc" / folder, UID, UID)
    for name in old:
        (site.ground / "etc" / name).write_bytes(b"old\n")
        os.chown(site.ground / "etc" / name, UID, UID)
    before = tree(site)
    placed(site, "r1", new)
    files = wanted(site, old, new)
    assert len(files) == 1_000
    assert site.ask("land", release="r1", expect="", files=files)["ok"]
    assert set(tree(site)) == {"etc/a.conf", *(f"etc/{name}" for name in new)}
    assert site.ask("return", release="", expect="r1", files=files)["ok"]
    assert tree(site) == before


def test_a_set_that_is_not_the_one_that_was_decided_on_is_refused(site: AppSite) -> None:
    before = tree(site)
    placed(site, "r1", ONE)
    files = wanted(site, OLD, ONE)
    (site.path / "releases/r1/files/n0").write_bytes(b"swapped\n")
    assert site.ask("land", release="r1", expect="", files=files)["fault"] == "stale"
    placed(site, "r2", TWO)
    assert site.ask("land", release="r2", expect="", files=files)["fault"] == "stale", "other content than was said"
    assert tree(site) == before


def test_a_folder_that_became_a_link_since_is_not_followed(site: AppSite) -> None:
    placed(site, "r1", ONE)
    files = wanted(site, OLD, ONE)
    elsewhere = site.ground / "elsewhere"
    (site.ground / "etc").rename(elsewhere)
    (site.ground / "etc").symlink_to(elsewhere)
    assert site.ask("land", release="r1", expect="", files=files)["fault"] == "stale"
    assert (elsewhere / "a.conf").read_text() == "hand-made\n"
    assert site.ask("look", targets=[files[0]["target"]])["targets"][files[0]["target"]]["real"] == str(
        elsewhere / "a.conf"
    ), "and a look says where it leads"


def test_mode_and_owner_are_what_is_configured_and_an_unknown_owner_changes_nothing(site: AppSite) -> None:
    before = tree(site)
    placed(site, "r1", ONE, mode=0o600, owner=str(UID))
    placed(site, "r2", TWO, owner="nobody-of-this-name")
    assert site.ask("land", release="r2", expect="", files=wanted(site, OLD, TWO))["fault"] == "refused"
    assert tree(site) == before
    assert site.ask("land", release="r1", expect="", files=wanted(site, OLD, ONE))["ok"]
    assert {found[1:3] for found in tree(site).values()} == {(0o600, UID)}
