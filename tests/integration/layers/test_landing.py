"""Landing and undo on a real disk: what lands is what ran, what is undone is what was, to the inode and nanosecond."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from interlock.runner.landing import land, recover_landing
from interlock.runner.tree import LayerFault
from interlock.runner.undoing import undo
from mixes import MIXES, Mix, edits, everything, grow, removals, turns
from overlays import NOBODY, in_child, layer_over, on_step, picture, record_of

PLENTY = 10**9


def _without_twins(seen: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    # An overlay gives a changed name of many an inode of its own: the count of names is not what a plain run leaves.
    return {name: (*one[:4], *one[5:]) for name, one in seen.items()}


def _untimed(seen: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: (*one[:3], *one[4:]) for name, one in seen.items()}


@pytest.mark.parametrize("mix", MIXES)
def test_what_lands_is_what_a_plain_run_would_have_left_and_the_undo_is_exact(
    mix: str, tree: Path, run: Path, place: Path
) -> None:
    grow(tree)
    before = picture(tree, inodes=True, folder_times=True)
    layers = layer_over(tree, run, lambda: MIXES[mix](tree))
    record = record_of(layers)
    assert picture(tree, inodes=True, folder_times=True) == before
    result = land(str(run), record, PLENTY)
    assert (result["state"], result["landed"], result["stale"]) == ("landed", len(record["changes"]), [])
    assert result["undo"]["available"]
    assert _without_links(_untimed(picture(tree))) == _without_links(_expected_untwinned(tree, place, MIXES[mix]))
    assert not _hidden(tree)
    assert land(str(run), record, PLENTY) == result == recover_landing(str(run))
    assert undo(str(run)) == {"state": "undone", "undone": len(record["changes"]), "stale": []}
    assert picture(tree, inodes=True, folder_times=True) == before
    assert undo(str(run))["state"] == "undone"
    assert not _hidden(tree)


def _expected_untwinned(tree: Path, place: Path, mix: Mix) -> dict[str, tuple[object, ...]]:
    """As a plain run would, had it first given every one of the two names a file of its own, as an overlay does."""
    plain = place / "plain" / "tree"
    plain.mkdir(parents=True)
    grow(plain)
    for name in ("twin-a", "twin-b"):
        data = (plain / name).read_bytes()
        (plain / name).unlink()
        (plain / name).write_bytes(data)
    mix(plain)
    return _untimed(picture(plain))


def _without_links(seen: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: (*one[:3], *one[4:]) for name, one in seen.items()}


def _hidden(tree: Path) -> list[Path]:
    return list(tree.rglob(".interlock*"))


@pytest.mark.parametrize("mix", MIXES)
def test_a_layer_on_another_file_system_lands_and_is_undone_exactly_too(mix: str, tree: Path, elsewhere: Path) -> None:
    grow(tree)
    before = picture(tree, folder_times=True)
    record = record_of(layer_over(tree, elsewhere, lambda: MIXES[mix](tree)))
    expected = {name: _seen_in_layer(source) for name, source in record["sources"].items() if Path(source).is_file()}
    assert land(str(elsewhere), record, PLENTY)["state"] == "landed"
    for name, seen in expected.items():
        assert _seen_in_layer(name) == seen
    assert not _hidden(tree)
    assert undo(str(elsewhere))["state"] == "undone"
    after = picture(tree, folder_times=True)
    twins = {"twin-a", "twin-b"}
    assert {k: v for k, v in after.items() if k not in twins} == {k: v for k, v in before.items() if k not in twins}
    assert _without_twins(after) == _without_twins(before)
    assert not _hidden(tree)


def _seen_in_layer(path: str) -> tuple[object, ...]:
    at = Path(path).stat()
    return at.st_mode, at.st_uid, at.st_gid, at.st_size, at.st_mtime_ns, Path(path).read_bytes()


def test_the_whole_of_a_deleted_tree_goes_by_one_rename_and_comes_back_as_it_was(tree: Path, run: Path) -> None:
    for number in range(10_000):
        folder = tree / "logs" / str(number // 100)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(b"x")
    before = picture(tree, inodes=True, folder_times=True)
    record = record_of(layer_over(tree, run, lambda: shutil.rmtree(tree / "logs")), changes_max=50)
    assert record["changes"][0]["below"] == 10_100
    renamed: list[str] = []

    def steps() -> None:
        on_step(lambda name: renamed.append(name) if name == "carried" else None)
        assert land(str(run), record, PLENTY)["state"] == "landed"
        assert renamed == ["carried"]

    assert in_child(steps) == 0
    assert list(tree.iterdir()) == []
    assert undo(str(run))["state"] == "undone"
    assert picture(tree, inodes=True, folder_times=True) == before


def test_readers_see_the_old_or_the_new_file_at_every_moment(tree: Path, run: Path) -> None:
    names = [tree / f"f{number}" for number in range(200)]
    for path in names:
        path.write_text("old" * 1000)
    record = record_of(layer_over(tree, run, lambda: [path.write_text("new" * 2000) for path in names]))

    def reading() -> None:
        seen: set[str] = set()
        while not (tree.parent / "stop").exists():
            for path in names:
                seen.add(path.read_text())
        assert seen <= {"old" * 1000, "new" * 2000}
        assert "old" * 1000 in seen

    pid = os.fork()
    if pid == 0:
        os._exit(in_child(reading))
    time.sleep(0.1)
    for _ in range(3):
        assert land(str(run), record, PLENTY)["state"] == "landed"
        assert undo(str(run))["state"] == "undone"
        for name in ("landing.done", "undo.done"):
            (run / name).unlink()
        record = record_of(layer_over(tree, tree.parent / f"again{time.monotonic_ns()}", lambda: _write(names)))
    (tree.parent / "stop").touch()
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 0


def _write(names: list[Path]) -> None:
    for path in names:
        path.write_text("new" * 2000)


def test_a_file_of_two_names_is_detached_and_the_other_name_keeps_what_it_had(
    tree: Path, run: Path, place: Path
) -> None:
    outside = place / "outside"
    outside.write_text("both")
    os.link(outside, tree / "inside")
    os.link(outside, tree / "meta")

    def work() -> None:
        (tree / "inside").write_text("inside only")
        (tree / "meta").chmod(0o600)

    assert land(str(run), record_of(layer_over(tree, run, work)), PLENTY)["state"] == "landed"
    assert (outside.read_text(), (tree / "inside").read_text(), (tree / "meta").read_text()) == (
        "both",
        "inside only",
        "both",
    )
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
    assert undo(str(run))["state"] == "undone"
    assert outside.samefile(tree / "inside")
    assert outside.stat().st_nlink == 3


def test_a_before_image_of_two_names_stays_what_it_was_when_the_other_name_is_written(
    tree: Path, run: Path, place: Path
) -> None:
    outside = place / "outside"
    outside.write_text("both")
    os.link(outside, tree / "inside")
    record = record_of(layer_over(tree, run, lambda: (tree / "inside").write_text("inside only")))
    assert land(str(run), record, PLENTY)["state"] == "landed"
    outside.write_text("theirs, later")
    assert undo(str(run))["state"] == "undone"
    assert (outside.read_text(), (tree / "inside").read_text()) == ("theirs, later", "both")


def test_before_images_over_their_limit_are_not_kept_and_the_answer_says_why(tree: Path, run: Path) -> None:
    grow(tree)
    result = land(str(run), record_of(layer_over(tree, run, lambda: removals(tree))), 10)
    assert result["state"] == "landed"
    assert not result["undo"]["available"]
    assert "at most 10 are kept" in result["undo"]["why"]
    assert not (run / "landing.images").exists()
    assert not (tree / "gone").exists()
    with pytest.raises(LayerFault, match="at most 10"):
        undo(str(run))


def test_a_layer_that_is_not_what_was_shown_does_not_land(tree: Path, run: Path) -> None:
    grow(tree)
    for number, spoil in enumerate(
        (
            lambda upper: (upper / "text.new").write_text("swapped"),
            lambda upper: (upper / "site/css/planted").write_text("planted"),
            lambda upper: (upper / "deep").chmod(0o777),
            lambda upper: (upper / "text.new").unlink(),
        )
    ):
        other = run / str(number)
        other.mkdir()
        record = record_of(
            layer_over(tree, other, lambda: (edits(tree), MIXES["growth"](tree), (tree / "deep").chmod(0o700)))
        )
        before = picture(tree, inodes=True, folder_times=True)
        spoil(other / "u/0")
        with pytest.raises(LayerFault) as refused:
            land(str(other), record, PLENTY)
        assert refused.value.code == "moved"
        assert picture(tree, inodes=True, folder_times=True) == before


def test_a_full_disk_leaves_everything_as_it_was(tree: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from interlock.runner import preparing

    grow(tree)
    record = record_of(layer_over(tree, run, lambda: everything(tree)))
    before = picture(tree, inodes=True, folder_times=True)
    real, calls = preparing.ready_act, [0]

    def full(*given: object) -> str:
        calls[0] += 1
        if calls[0] == 6:
            raise OSError(errno.ENOSPC, "No space left on device", "x")
        return str(real(*given))

    monkeypatch.setattr("interlock.runner.landing.ready_act", full)
    with pytest.raises(LayerFault) as refused:
        land(str(run), record, PLENTY)
    assert refused.value.code == "no_space"
    assert picture(tree, inodes=True, folder_times=True) == before
    monkeypatch.undo()
    assert land(str(run), record_of_again(run, tree), PLENTY)["state"] == "landed"


def record_of_again(run: Path, tree: Path) -> dict[str, object]:
    return record_of([{"point": str(tree), "upper": str(run / "u/0")}])


def test_an_ordinary_user_lands_and_undoes_as_exactly_as_root(place: Path) -> None:
    tree, run = place / "tree", place / "run"
    for folder in (tree, run):
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)

    def work() -> None:
        (tree / "closed").chmod(0o755)
        (tree / "closed/in").write_text("new")
        (tree / "closed").chmod(0o555)
        (tree / "hidden").mkdir()
        (tree / "hidden/f").write_text("f")
        (tree / "hidden").chmod(0o500)
        (tree / "open").chmod(0o500)
        (tree / "kept/empty").rmdir()
        (tree / "text").write_text("new")
        shutil.rmtree(tree / "gone")

    def steps() -> None:
        for name in ("closed/in", "open/f", "gone/a", "text", "kept/x"):
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).write_text(name)
        (tree / "kept/empty").mkdir(mode=0o555)
        (tree / "closed").chmod(0o555)
        before = picture(tree, inodes=True, folder_times=True)
        record = record_of(layer_over(tree, run, work, NOBODY))
        assert land(str(run), record, PLENTY)["state"] == "landed"
        assert (tree / "closed/in").read_text() == "new"
        assert [stat.S_IMODE((tree / name).stat().st_mode) for name in ("closed", "hidden", "open")] == [
            0o555,
            0o500,
            0o500,
        ]
        assert not (tree / "gone").exists()
        assert undo(str(run))["state"] == "undone"
        assert picture(tree, inodes=True, folder_times=True) == before

    assert in_child(steps, NOBODY) == 0


def test_a_thousand_changed_files_are_read_and_landed_quickly(tree: Path, place: Path) -> None:
    for number in range(1000):
        (tree / str(number)).write_bytes(b"x" * 2000)
    best = 9.0
    for attempt in range(3):
        run = place / f"r{attempt}"
        layers = layer_over(tree, run, lambda: [_append(tree / str(number)) for number in range(1000)])
        began = time.perf_counter()
        assert land(str(run), record_of(layers), PLENTY)["landed"] == 1000
        best = min(best, time.perf_counter() - began)
    assert best < 3.0  # 0.3 on a machine of its own: benchmarks hold it to that
    assert (tree / "7").read_bytes() == b"x" * 2000 + b"y" * 3


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"y")


def test_a_layer_of_many_turns_lands_at_once(tree: Path, run: Path) -> None:
    grow(tree)
    record = record_of(layer_over(tree, run, lambda: turns(tree)))
    assert land(str(run), record, PLENTY)["state"] == "landed"
    assert (tree / "turned").readlink() == Path("deep")
    assert (tree / "to-folder/in/file").read_text() == "inside"
