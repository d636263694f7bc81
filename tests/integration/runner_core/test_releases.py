"""Releases through the helper: uploaded, placed, switched, pruned; by killed workers too. The disk is the witness."""

import gzip
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archives import entry, tar_of, zip_link, zip_of

from .app_site import PIECE_BYTES, AppSite, app_site, artifact
from .test_layers import USER

LOGINS = ["root", "user"] if os.geteuid() == 0 else ["user"]


@pytest.fixture(params=LOGINS)
def site(request: pytest.FixtureRequest) -> Iterator[AppSite]:
    """An application of root's and of an ordinary user's."""
    uid = USER if request.param == "user" and os.geteuid() == 0 else os.geteuid()
    with app_site(uid) as made:
        yield made


def test_a_release_is_uploaded_placed_and_live_by_one_link(site: AppSite) -> None:
    assert site.ask("claim")["real"] == str(site.path)
    told = site.place("v1", tar_of([entry("bin/run", data=b"#!/bin/sh\n", mode=0o755), entry("etc/conf", data=b"1")]))
    assert (told["placed"], told["already"], told["kind"], told["entries"]) == (True, False, "tar", 4)
    assert not (site.path / "current").is_symlink(), "what is placed is not live"
    told = site.switch("v1", "")
    assert (told["live"], told["before"], told["already"]) == ("v1", "", False)
    assert os.readlink(site.path / "current") == "releases/v1"
    assert (site.path / "current/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (site.path / "current/bin/run").stat().st_uid == site.path.stat().st_uid
    assert site.names(".interlock") == ["changes.json", "claim.json", "lock", "releases"], "the upload is gone"
    assert site.own("").stat().st_mode & 0o7777 == 0o700


def test_looking_tells_all_of_it_and_changes_nothing(site: AppSite) -> None:
    before = site.disk()
    absent = site.ask("look")
    assert (absent["exists"], absent["releases"], absent["claim"], absent["live"]) == (False, [], None, "")
    assert (absent["current"], absent["free_bytes"] > 0, site.disk()) == ("absent", True, before)
    site.claimed().placed("v1", "v2")
    site.switch("v2", "")
    named = {"sha256": "a" * 64, "bytes": 9}
    site.ask("upload", b"half", offset=0, **named)
    (site.path / "releases/foreign").mkdir()
    before = site.disk()
    told = site.ask("look", deployment="", fence=-1)
    assert (told["exists"], told["real"], told["live"], told["current"]) == (True, str(site.path), "v2", "link")
    kept = {one["id"]: (one["sha256"], one["entries"], one["live"]) for one in told["releases"]}
    digests = {name: hashlib.sha256(artifact(name)).hexdigest() for name in ("v1", "v2")}
    assert kept == {"v2": (digests["v2"], 1, True), "v1": (digests["v1"], 1, False), "foreign": ("", 0, False)}
    assert [one["id"] for one in told["releases"]] == ["foreign", "v2", "v1"]
    assert (told["claim"]["deployment"], told["claim"]["fence"], told["claim"]["open"]) == ("d1", 1, True)
    assert told["uploads"] == [named["sha256"]]
    assert site.disk() == before


def test_the_configured_path_may_lead_through_links_and_the_answer_says_where(site: AppSite) -> None:
    (site.ground / "way").symlink_to(".")
    told = site.ask("claim", path=f"{site.ground}/way/app/")
    assert told["real"] == str(site.path)
    (site.ground / "file").write_text("")
    assert site.ask("look", path=f"{site.ground}/file")["fault"] == "exists"
    assert site.ask("claim", path=f"{site.ground}/no/app")["fault"] == "absent"
    assert [site.ask("look", path=path)["fault"] for path in ("app", "/", "/a\0b")] == ["bad_request"] * 3
    os.rename(site.path / "releases", site.ground / "elsewhere")
    (site.path / "releases").symlink_to("../elsewhere")
    before = site.disk("app/.interlock")
    assert site.ask("place", release="v1", name="x", **site.upload(b"x"))["fault"] == "exists"
    assert site.disk("app/.interlock") == before, "what lies below the path is reached through no link"


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_upload_goes_on_where_it_was_cut_off(site: AppSite) -> None:
    data = os.urandom(PIECE_BYTES * 2 + 5)
    named = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    site.claimed()
    first = site.helper(faults="app-uploaded=kill")
    assert site.ask("upload", data[:PIECE_BYTES], first, offset=0, **named)["fault"] == "internal"
    have = site.ask("upload", offset=0, **named)["have"]
    assert have == PIECE_BYTES
    early = site.ask("place", release="v1", name="app", **named)
    assert (early["fault"], early["have"]) == ("absent", have)
    gap = site.ask("upload", data[have + 1 :][:10], offset=have + 1, **named)
    assert (gap["fault"], gap["have"]) == ("bad_request", have)
    for at in (0, have, 2 * have):  # the first of them comes for the second time
        site.ask("upload", data[at : at + PIECE_BYTES], offset=at, **named)
    assert site.own("upload-" + named["sha256"]).stat().st_mode & 0o7777 == 0o600
    assert site.ask("upload", b"x", offset=len(data), **named)["fault"] == "refused"
    assert site.ask("place", release="v1", name="app", **named)["kind"] == "file"
    assert (site.path / "releases/v1/app").read_bytes() == data


def test_what_is_not_what_was_named_is_thrown_away(site: AppSite) -> None:
    good = artifact("v1")
    named = {"sha256": hashlib.sha256(good).hexdigest(), "bytes": len(good)}
    site.claimed()
    site.ask("upload", good.replace(b"v1", b"v2"), offset=0, **named)
    told = site.ask("place", release="v1", name="app", **named)
    assert (told["fault"], told["why"]) == ("refused", "sha256")
    assert (site.names("releases"), site.ask("look")["uploads"]) == ([], [])
    assert site.place("v1", good)["placed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_an_artifact_that_will_not_fit_is_not_begun() -> None:
    with app_site(0) as site:
        site.path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", site.path], check=True)
        try:
            site.claimed()
            told = site.ask("upload", b"x", offset=0, sha256="a" * 64, bytes=8 * 2**20)
            assert (told["fault"], told["needed"]) == ("no_space", 32 * 2**20)
            assert str(told["free"]) in told["reason"]
            assert site.ask("look")["uploads"] == []
            packed = gzip.compress(tar_of([entry("small"), entry("zeros", data=bytes(12 * 2**20))]))
            assert site.place("v1", packed)["fault"] == "no_space"
            assert site.names("releases") == []
            assert site.place("v2", artifact("v2"))["placed"]
        finally:
            subprocess.run(["umount", "-l", site.path], check=True)


# ── placing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

UNFIT = {
    "climbing-tar": tar_of([entry("ok"), entry("../../../beside", data=b"x")]),
    "climbing-zip": zip_of({"ok": b"", "../../../beside": b"x"}),
    "through-a-link": tar_of([entry("a", b"2", target="."), entry("a/b", b"2", target="..")]),
    "zip-through-a-link": zip_of({}, zip_link("a", "."), zip_link("a/b", "x")),
    "bomb": gzip.compress(tar_of([entry("zeros", size=2**30)])),
    "cut": tar_of([entry("ok", data=b"x" * 600)])[:1024],
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_unfit_artifact_leaves_nothing_and_its_id_is_free(site: AppSite, case: str) -> None:
    site.claimed().placed("v1")
    site.switch("v1", "")
    before = site.disk("app/.interlock/claim")
    told = site.place("v2", UNFIT[case])
    assert (told["fault"], bool(told["why"]), bool(told["reason"])) == ("refused", True, True)
    assert site.disk("app/.interlock/claim") == before
    assert site.place("v2", artifact("v2"))["placed"]


def test_a_release_is_placed_once_and_its_id_never_gets_other_content(site: AppSite) -> None:
    site.claimed().placed("v1")
    assert site.place("v1", artifact("v1"), keep_upload=True)["already"]
    assert site.ask("look")["uploads"] == [hashlib.sha256(artifact("v1")).hexdigest()]
    assert site.place("v1", artifact("other"))["fault"] == "exists"
    (site.path / "releases/foreign").mkdir()
    assert site.place("foreign", artifact("x"))["fault"] == "exists"
    assert (site.path / "releases/v1/file").read_text() == "v1"
    for release in ("", ".hidden", "../v1", "a/b", "x" * 65, "a\n"):
        assert site.place(release, artifact("v1"))["fault"] == "bad_request"


def test_what_is_shared_outlives_releases(site: AppSite) -> None:
    site.claimed()
    shared = ["data", "etc/conf", "log/app"]
    for number in (1, 2, 3):
        files = [entry("data/seed", data=b"%d" % number), entry("etc/conf", data=b"%d" % number), entry("x")]
        told = site.place(f"v{number}", tar_of(files), shared=shared)
        assert told.get("placed"), told
        assert site.switch(f"v{number}", f"v{number - 1}" if number > 1 else "")["ok"]
        with (site.path / "current/data/rows").open("a") as file:
            file.write(f"row {number}\n")
    assert (site.path / "shared/data/rows").read_text() == "row 1\nrow 2\nrow 3\n"
    assert (site.path / "current/data/seed").read_text() == "1", "the first release's own is what was there first"
    assert (site.path / "current/etc/conf").read_text() == "1"
    assert (site.path / "current/log/app").is_dir()
    assert os.readlink(site.path / "releases/v3/etc/conf") == "../../../shared/etc/conf"
    before = site.disk("app/releases", "app/.interlock")
    assert site.ask("prune", keep=0)["removed"] == ["v1", "v2"]
    assert site.disk("app/releases", "app/.interlock") == before


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_what_is_shared_may_lie_on_another_file_system() -> None:
    with app_site(0) as site:
        mounted = site.claimed().path / "shared/disk"
        mounted.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", mounted], check=True)
        try:
            many = [entry(f"disk/data/{number}", data=b"%d" % number) for number in range(150)]
            assert site.place("v1", tar_of(many), shared=["disk/data"])["entries"] == 152
            assert {path.name: path.read_text() for path in (mounted / "data").iterdir()} == {
                str(number): str(number) for number in range(150)
            }
            assert os.readlink(site.path / "releases/v1/disk/data") == "../../../shared/disk/data"
            assert os.listdir(mounted) == ["data"]
        finally:
            subprocess.run(["umount", "-l", mounted], check=True)


def test_a_shared_path_that_cannot_be_one_is_refused(site: AppSite) -> None:
    site.claimed()
    for wrong in (["../x"], ["/x"], ["."], ["a", "a/b"], ["a", "./a"], [3], ["a\n"]):
        assert site.place("v1", artifact("v1"), shared=wrong)["fault"] == "bad_request", wrong
    (site.path / "shared/way").symlink_to("../..")
    before = site.disk("app/.interlock")
    assert site.place("v1", artifact("v1"), shared=["way/x"])["fault"] == "exists"
    assert site.place("v1", artifact("v1"), shared=["file/x"])["fault"] == "exists"
    assert site.disk("app/.interlock") == before


# ── switching ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_switch_happens_only_from_what_was_expected(site: AppSite) -> None:
    site.claimed().placed("v1", "v2")
    assert site.switch("v9", "")["fault"] == "absent"
    assert site.switch("v1", "")["before"] == ""
    told = site.switch("v2", "")
    assert (told["fault"], told["live"]) == ("stale", "v1")
    assert site.switch("v2", "v1")["before"] == "v1"
    assert site.switch("v2", "v1")["already"]
    (site.path / ".current-0123456789abcdef").symlink_to("releases/v1")  # of a worker that was killed
    assert site.switch("", "v2")["live"] == ""
    assert site.names("") == [".interlock", "releases", "shared"]
    assert site.switch("", "v2")["already"]
    (site.path / "current").symlink_to(site.path / "releases/v1")
    assert site.switch("v2", "v1")["before"] == "v1", "an absolute link that leads there is one of ours"
    assert os.readlink(site.path / "current") == "releases/v2"


@pytest.mark.parametrize("what", ["folder", "file", "elsewhere", "above"])
def test_a_current_that_is_not_ours_is_left_alone(site: AppSite, what: str) -> None:
    site.claimed().placed("v1", "v2")
    current = site.path / "current"
    if what == "folder":
        current.mkdir()
    elif what == "file":
        current.write_text("x")
    else:
        current.symlink_to("../beside" if what == "elsewhere" else "releases/v1/..")
    before = site.disk("app/.interlock")
    assert [site.ask("look")[name] for name in ("current", "live")] == ["other", ""]
    assert site.switch("v1", "")["fault"] == "exists"
    assert site.switch("", "")["fault"] == "exists"
    assert site.disk("app/.interlock") == before


def test_whoever_reads_through_current_finds_the_old_or_the_new_one(site: AppSite) -> None:
    site.claimed().placed("old", "new")
    site.switch("old", "")
    seen: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                seen.append((site.path / "current/file").read_text())
            except OSError as fault:
                seen.append(repr(fault))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(25):
            assert site.switch("new", "old")["ok"]
            assert site.switch("old", "new")["ok"]
    finally:
        over.set()
        reader.join(10)
    assert set(seen) == {"old", "new"}


# ── removing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_oldest_releases_go_but_for_the_live_the_spared_and_the_foreign(site: AppSite) -> None:
    site.claimed().placed("v1", "v2", "v3", "v4", "v5", "v6")
    site.switch("v2", "")
    (site.path / "releases/foreign").mkdir()
    (site.path / "releases/.new-v7").mkdir()
    outside = site.path / "releases/v1/outside"
    outside.symlink_to(site.ground)
    told = site.ask("prune", keep=2, spare=["v3"])
    assert (told["removed"], told["kept"]) == (["v1", "v4"], 4)
    assert site.names("releases") == ["foreign", "v2", "v3", "v5", "v6"]
    assert site.names(".interlock/releases") == [f"{name}.json" for name in ("v2", "v3", "v5", "v6")]
    assert (site.ground / "beside").read_text() == "beside\n"
    assert site.ask("prune", keep=2, spare=["v3"])["removed"] == []


def test_a_release_that_an_odd_link_makes_live_stays(site: AppSite) -> None:
    site.claimed()
    site.place("v1", tar_of([entry("public/index")]))
    site.placed("v2")
    (site.path / "current").symlink_to("releases/v1/public")
    assert site.ask("prune", keep=0)["removed"] == ["v2"]
    assert site.ask("drop", release="v1")["fault"] == "stale"
    assert (site.path / "current/index").exists()


def test_uploads_that_nobody_came_back_for_go_after_a_day(site: AppSite) -> None:
    site.claimed()
    old, new = "a" * 64, "b" * 64
    for digest in (old, new):
        site.ask("upload", b"x", offset=0, sha256=digest, bytes=2)
    os.utime(site.own("upload-" + old), (time.time() - 90_000,) * 2)
    site.ask("prune", keep=3)
    assert site.ask("look")["uploads"] == [new]


def test_a_release_is_taken_back_unless_it_is_live(site: AppSite) -> None:
    site.claimed().placed("v1", "v2")
    site.switch("v1", "")
    told = site.ask("drop", release="v1")
    assert (told["fault"], told["live"]) == ("stale", "v1")
    assert site.ask("drop", release="v2")["dropped"]
    assert not site.ask("drop", release="v2")["dropped"]
    (site.path / "releases/foreign").mkdir()
    assert site.ask("drop", release="foreign")["fault"] == "exists"
    assert (site.names("releases"), site.names(".interlock/releases")) == (["foreign", "v1"], ["v1.json"])


# ── killed, and asked again ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["kill", "raise:28", "raise:5"])
@pytest.mark.parametrize(
    "step", ["app-claimed", "app-uploaded", "app-unpacked", "app-placed", "app-switched", "app-pruned"]
)
def test_what_broke_at_any_step_ends_right_when_it_is_asked_for_again(site: AppSite, step: str, fault: str) -> None:
    site.claimed().placed("v0", "v1")
    broken = site.helper(faults=f"{step}={fault}")
    named = site.upload(artifact("v2"))
    asked: dict[str, tuple[str, bytes, dict[str, object]]] = {
        "app-claimed": ("claim", b"", {}),
        "app-uploaded": ("upload", artifact("v2"), {"offset": 0, **named}),
        "app-unpacked": ("place", b"", {"release": "v2", "name": "app", "shared": ["data"], **named}),
        "app-placed": ("place", b"", {"release": "v2", "name": "app", "shared": ["data"], **named}),
        "app-switched": ("switch", b"", {"release": "v1", "expect": ""}),
        "app-pruned": ("prune", b"", {"keep": 1}),
    }
    op, body, head = asked[step]
    told = site.ask(op, body, broken, **head)
    assert told["fault"] == {"kill": "internal", "raise:28": "no_space", "raise:5": "unavailable"}[fault]
    again = site.ask(op, body, **head)
    assert again["ok"], again
    assert site.ask("place", release="v2", name="app", shared=["data"], **site.upload(artifact("v2")))["ok"]
    assert site.switch("v2", "v1" if step == "app-switched" else "")["ok"]
    assert site.ask("prune", keep=1)["ok"]
    assert (site.names("releases"), site.names(".interlock/releases")) == (["v2"], ["v2.json"])
    own = ["changes.json", "claim.json", "lock", "releases"]
    assert (site.names(".interlock"), site.names("shared")) == (own, ["data"])
    assert Path(site.path, "current/file").read_text() == "v2"
    if step == "app-pruned" and fault == "kill":
        assert again["removed"] == ["v0"]
