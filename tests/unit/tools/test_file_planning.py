"""File planning: only what differs changes, what a set does not have any more goes, what was there before stays."""

from interlock_tools.apps import App, FileSpec, Strategy
from interlock_tools.effects import EffectKind
from interlock_tools.file_planning import ORIGINAL, drifted, file_plans, file_words, unfit_files
from interlock_tools.found import ABSENT, FoundFile, HostState, KeptFile, KeptRelease
from interlock_tools.planning import effects_on, release_rollout, rollback_rollout
from interlock_tools.rollout import Artifact, HostSet, rollout_from_json

A, B, C = "a" * 64, "b" * 64, "c" * 64
EDGE = App("edge", ("web1",), "/srv/edge", Strategy.FILES, files=(FileSpec("d/", "/etc/d/"),))


def state(live: str = "r1", found: dict[str, FoundFile] | None = None, **kept: dict[str, KeptFile]) -> HostState:
    releases = tuple(KeptRelease(name, A, files=files) for name, files in kept.items())
    return HostState("web1", live=live, current="link", kept=releases, found=found or {})


def lies(sha256: str, mode: int = 0o644, owner: str = "root:root") -> FoundFile:
    return FoundFile("/real/x", sha256, mode, owner)


def test_only_what_differs_is_changed_and_what_the_set_has_no_more_goes() -> None:
    found = {
        "/etc/d/same": lies(A),
        "/etc/d/other": lies(A),
        "/etc/d/gone": lies(C),
        "/etc/d/left": FoundFile("/l", ABSENT),
    }
    live = {"/etc/d/same": KeptFile(A), "/etc/d/gone": KeptFile(C), "/etc/d/left": KeptFile(C)}
    wanted = {"/etc/d/same": KeptFile(A), "/etc/d/other": KeptFile(B), "/etc/d/new": KeptFile(B)}
    plans = file_plans(state(found=found, r1=live), wanted)
    assert [(plan.word, plan.target) for plan in plans] == [
        ("delete", "/etc/d/gone"),
        ("create", "/etc/d/new"),
        ("modify", "/etc/d/other"),
    ]
    before = state(ORIGINAL, found=found, **{ORIGINAL: live})
    assert "/etc/d/gone" not in {plan.target for plan in file_plans(before, wanted)}, "nobody shipped that"


def test_a_configured_mode_or_owner_that_differs_is_a_change_too() -> None:
    found = {"/etc/d/a": lies(A, 0o640, "root:www-data")}
    for file, same in [
        (KeptFile(A), True),
        (KeptFile(A, 0o640), True),
        (KeptFile(A, 0o600), False),
        (KeptFile(A, None, "root"), True),
        (KeptFile(A, None, "root:www-data"), True),
        (KeptFile(A, None, "root:root"), False),
    ]:
        assert (not file_plans(state(found=found), {"/etc/d/a": file})) is same, file
        assert (not drifted(state(found=found, r1={"/etc/d/a": file}))) is same, file


def test_a_release_that_is_live_but_drifted_is_landed_again_and_one_that_is_not_is_left() -> None:
    files = {"/etc/d/a": KeptFile(A)}
    sets = {"web1": HostSet(Artifact("set.tar", A, 9), files)}
    source = Artifact("one", B, 9)
    at_rest = release_rollout(EDGE, "r1", source, [state(found={"/etc/d/a": lies(A)}, r1=files)], sets)
    assert (at_rest.is_empty, at_rest.unchanged) == (True, ("web1",))
    rollout = release_rollout(EDGE, "r1", source, [state(found={"/etc/d/a": lies(B)}, r1=files)], sets)
    assert (rollout.hosts[0].before, rollout.hosts[0].has, rollout.unchanged) == ("r1", True, ())
    assert rollout_from_json(rollout.to_json()) == rollout, "the record brings it back whole"
    assert file_words(rollout) == ("modify /etc/d/a on web1",)
    writes = {(effect.kind, effect.target) for effect in effects_on(EDGE, rollout, rollout.hosts[0])}
    assert (EffectKind.WRITE, "/real/x") in writes, "policy decides on the place where it really lies"
    back = rollback_rollout(EDGE, "r1", [state("r2", {"/etc/d/a": lies(B)}, r1=files, r2={"/etc/d/a": KeptFile(B)})])
    assert [(file.before, file.after) for file in back.hosts[0].files] == [(B, A)]


def test_what_no_file_can_replace_and_what_is_not_configured_any_more_is_said() -> None:
    sets = {"web1": HostSet(Artifact("set.tar", A, 9), {"/etc/d/a": KeptFile(A)})}

    def why(found: FoundFile) -> str:
        made = release_rollout(EDGE, "r2", Artifact("one", B, 9), [state(found={"/etc/d/a": found})], sets)
        return unfit_files(EDGE, made.hosts)

    assert why(lies(B)) == ""
    assert "is a link" in why(FoundFile("/etc/d/a", "link"))
    assert "too large" in why(FoundFile("/etc/d/a", "large"))
    old = {"/etc/gone/a": KeptFile(A)}
    rollout = rollback_rollout(
        EDGE, "r1", [state("r2", {"/etc/gone/a": FoundFile("/etc/gone/a", ABSENT)}, r1=old, r2={})]
    )
    assert "not among the app's files any more" in unfit_files(EDGE, rollout.hosts)
