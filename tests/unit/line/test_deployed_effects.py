"""What a deployment changed, net, from what its steps said: made and dropped is nothing, and nothing is invented."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from interlock.deploy.asking import Deployment
from interlock.deploy.measuring import HOOK_CHANGES_MAX, kept_of, seen_on_hosts
from interlock.deploy.records import StepRow
from interlock.deploy.weighing import measured_effect
from interlock.ports import Executed, Measured
from interlock_policies.facts import HostFacts
from interlock_tools.apps import App, Hook, Service
from interlock_tools.call import Call, Json
from interlock_tools.changes import Change, ChangeOp
from interlock_tools.errors import CommandFailed, Refusal
from interlock_tools.found import HostState, KeptRelease
from interlock_tools.planning import release_rollout, rollback_rollout, service_rollout
from interlock_tools.rollout import Artifact

APP = App("shop", ("web1", "web2"), "/srv/shop", keep=1)
RELEASE = {"op": "create", "path": "/srv/shop/releases/r2", "kind": "directory", "below": 3}
DROPPED = {**RELEASE, "op": "delete", "was": {"kind": "directory"}}
OLD = {"op": "delete", "path": "/srv/shop/releases/r0", "kind": "directory", "below": 3, "was": {"kind": "directory"}}


def link(now: str, was: str) -> dict[str, Json]:
    before = {"kind": "link", "target": f"releases/{was}"}
    return {"op": "modify", "path": "/srv/shop/current", "kind": "link", "target": f"releases/{now}", "was": before}


def file(path: str, op: str = "create", **more: Json) -> dict[str, Json]:
    return {"op": op, "path": path, "kind": "file", "was": None if op == "create" else {"kind": "file"}, **more}


def told(step: str, *changes: dict[str, Json], host: str = "web1", **more: Json) -> StepRow:
    """A step that was done, and what it said that it changed."""
    return StepRow("c1", host, step, state="done", ended=1.0, detail={"changes": list(changes), **more})


def hook(step: str, *changes: dict[str, Json], host: str = "web1", observed: str = "confined", cut: bool = False):
    measured = {"observed": observed, "changes": list(changes), "cut": cut}
    return StepRow("c1", host, step, state="done", ended=1.0, detail={"measured": measured})


def lost(step: str, code: str = "HOST_UNREACHABLE", state: str = "failed") -> StepRow:
    return StepRow("c1", "web1", step, state=state, detail={"code": code, "reason": "it is away"})


FORWARD = (told("claim"), told("place", RELEASE), told("switch", link("r2", "r1")))
BACK = (told("switch_back", link("r1", "r2")), told("drop", DROPPED))


def seen(*rows: StepRow) -> tuple[str, list[str]]:
    """How the one host was looked at, and its net changes."""
    (one,) = seen_on_hosts(rows)
    return one.observed, [f"{change.op.value} {change.path.removeprefix('/srv/shop/')}" for change in one.changes]


def deployment(app: App = APP) -> Deployment:
    async def unheard(_: str) -> None: ...

    kept = (KeptRelease("r1", "a" * 64), KeptRelease("r0", "b" * 64))
    states = [HostState(host, live="r1", current="link", kept=kept) for host in app.hosts]
    rollout = release_rollout(app, "r2", Artifact("two", "c" * 64, 3), states)
    return Deployment(Call("c1", "agent", "s", "deploy_release", {}), app, rollout, 1, unheard)


def measured(rows: Sequence[StepRow], made: Deployment | None = None, **facts: HostFacts | Refusal) -> Measured:
    async def asked(app: App) -> dict[str, HostFacts | Refusal]:
        return facts

    return asyncio.run(measured_effect(made or deployment(), rows, asked))


# ── net ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_is_what_was_made_switched_and_removed() -> None:
    changes = ["modify current", "delete releases/r0", "create releases/r2"]
    assert seen(*FORWARD, told("prune", OLD)) == ("confined", changes)


def test_what_was_made_and_dropped_again_is_nothing_and_so_is_a_link_that_leads_where_it_led() -> None:
    assert seen(*FORWARD, told("claim_back", RELEASE, link("r2", "r1")), *BACK, told("free_back")) == ("confined", [])


def test_a_first_release_that_was_taken_back_leaves_the_apps_own_folders() -> None:
    folder = {"op": "create", "path": "/srv/shop", "kind": "directory"}
    new = {"op": "create", "path": "/srv/shop/current", "kind": "link", "target": "releases/r2"}
    gone = {**new, "op": "delete", "was": {"kind": "link", "target": "releases/r2"}}
    rows = (told("claim", folder), told("place", RELEASE), told("switch", new), told("switch_back", gone), BACK[1])
    assert seen(*rows) == ("confined", ["create /srv/shop"])


def test_what_hooks_left_stays_but_not_what_lay_in_a_release_that_was_dropped() -> None:
    made, kept = file("/srv/shop/releases/r2/made"), file("/srv/shop/shared/rows", "modify")
    assert seen(*FORWARD[:2], hook("prepare", made, kept), *BACK[1:]) == ("confined", ["modify shared/rows"])


def test_what_lay_in_a_release_goes_with_it_also_where_only_the_hosts_last_word_says_so() -> None:
    made = hook("prepare", file("/srv/shop/releases/r2/made"))
    assert seen(*FORWARD[:2], made, lost("drop", "INTERNAL"), told("free_back")) == ("confined", [])


def test_what_a_hook_did_to_the_releases_own_files_is_part_of_its_being_made() -> None:
    changes = (file("/srv/shop/releases/r2/a", "delete"), file("/srv/shop/releases/r2/b", "modify"))
    expected = ["create releases/r2", "create releases/r2/b"]
    assert seen(told("place", RELEASE), hook("prepare", *changes)) == ("confined", expected)


@pytest.mark.parametrize(
    ("ops", "net"),
    [
        ("create modify", "create"),
        ("create delete", ""),
        ("modify delete", "delete"),
        ("modify modify", "modify"),
        ("meta meta", "meta"),
        ("meta modify", "modify"),
        ("delete create", "modify"),
        ("create delete create", "create"),
    ],
)
def test_changes_of_one_path_by_several_hooks_are_one(ops: str, net: str) -> None:
    steps = itertools.cycle(("prepare", "activate", "after"))
    rows = [hook(step, file("/srv/x", op)) for step, op in zip(steps, ops.split(), strict=False)]
    assert seen(*rows) == ("confined", [f"{net} /srv/x"] if net else [])


# ── what was not seen ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_answer_leaves_the_host_unseen_until_the_app_is_claimed_or_given_free() -> None:
    away = (FORWARD[0], lost("place"))
    assert seen(*away) == ("none", [])
    assert seen(*away, told("claim_back", RELEASE)) == ("confined", ["create releases/r2"])
    assert seen(*FORWARD, lost("prune"), told("free", RELEASE, link("r2", "r1"), OLD))[0] == "confined"
    assert seen(*FORWARD, lost("free")) == ("confined", ["modify current", "create releases/r2"])
    unheard = (*FORWARD, told("claim_back", RELEASE, link("r2", "r1")), lost("switch_back", state="unknown"))
    assert seen(*unheard)[0] == "none"


def test_a_step_that_its_host_refused_changed_nothing() -> None:
    assert seen(*FORWARD[:2], lost("switch", "STALE_STATE"))[0] == "confined"
    assert seen(*FORWARD, lost("prune", "INTERNAL"))[0] == "none"


def test_a_hook_is_seen_only_where_all_of_it_was_looked_at_and_it_was_contained() -> None:
    assert seen(hook("after", file("/srv/x"), cut=True)) == ("none", ["create /srv/x"])
    assert seen(hook("after", observed="scanned"))[0] == "scanned"
    assert seen(hook("after", observed="none"))[0] == "none"
    assert seen(StepRow("c1", "web1", "after", state="done"))[0] == "none", "the record of an older server"
    assert seen(replace(hook("after"), state="unknown"))[0] == "none"
    assert seen(StepRow("c1", "web1", "after", state="failed", detail={"measured": None})) == ("confined", [])
    assert seen(StepRow("c1", "web1", "after", state="failed", detail={"began": False})) == ("confined", [])


def test_what_the_host_could_not_note_whole_is_not_seen() -> None:
    assert seen(*FORWARD, told("prune", OLD, changes_cut=True))[0] == "none"
    silent = StepRow("c1", "web1", "switch", state="done", detail={"live": "r2"})
    assert seen(silent, told("free"))[0] == "none", "a step that tells of no changes is not taken for one without any"
    assert seen(told("place", {"op": "melt", "path": "/x", "kind": "file"}))[0] == "none"


# ── what the record keeps of a hook ──────────────────────────────────────────────────────────────────────────────────


def ran(*changes: Change, started: bool = True, **more: Json) -> dict[str, Json]:
    effect = Measured("confined", changes, **more)
    return kept_of(Executed({}, CommandFailed(reason="x"), started=started, measured=effect))["measured"]


def test_a_folder_that_came_as_a_whole_stands_for_what_is_in_it_but_for_what_has_anothers_rights() -> None:
    changes = (
        Change(ChangeOp.CREATE, "/srv/m", "directory", below=3),
        Change(ChangeOp.CREATE, "/srv/m/n", "directory", below=1),
        Change(ChangeOp.CREATE, "/srv/m/n/file", "file"),
        Change(ChangeOp.CREATE, "/srv/m/su", "file", mode=0o4755),
        Change(ChangeOp.DELETE, "/srv/old", "file", was={"kind": "file", "ino": 7}),
    )
    kept = ran(*changes)
    assert [entry["path"] for entry in kept["changes"]] == ["/srv/m", "/srv/m/su", "/srv/old"]
    assert kept["changes"][2]["was"] == {"kind": "file", "target": ""}
    assert (kept["observed"], kept["cut"]) == ("confined", False)


def test_what_is_kept_of_a_hook_is_bounded_and_says_so() -> None:
    many = [Change(ChangeOp.CREATE, f"/srv/{number}", "file") for number in range(HOOK_CHANGES_MAX + 1)]
    assert (len(ran(*many)["changes"]), ran(*many)["cut"], ran(truncated=True)["cut"]) == (HOOK_CHANGES_MAX, True, True)
    assert ran(started=False) is None


# ── weighed ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_ordinary_release_scores_one_and_names_each_host() -> None:
    shared = {"op": "create", "path": "/srv/shop/shared", "kind": "directory"}
    rows = [replace(row, host=host) for host in APP.hosts for row in (*FORWARD, told("claim", RELEASE, shared))]
    rows += [told("prune", OLD, host=host) for host in APP.hosts]
    found = measured(rows)
    assert found.weighed is not None
    assert (found.observed, found.weighed.side_effects, found.weighed.undeclared) == ("confined", 1.0, ())
    assert [change.path for change in found.changes[:2]] == ["web1:/srv/shop/releases/r0", "web1:/srv/shop/releases/r2"]
    assert found.changes[3].path.startswith("web2:")


def test_the_lowest_host_is_the_deployments_and_what_nobody_declared_is_named() -> None:
    other = {**OLD, "path": "/srv/shop/releases/other"}
    rows = (*FORWARD, told("prune", OLD), told("claim", host="web2"), told("prune", other, host="web2"))
    found = measured(rows, web2=HostFacts("web2", workspace=("/srv",)))
    assert found.weighed is not None
    assert [change.path for change in found.weighed.undeclared] == ["web2:/srv/shop/releases/other"]
    assert found.weighed.side_effects == 0.5
    unasked = measured(rows, web2=CommandFailed(reason="away"))
    assert unasked.weighed is not None
    assert unasked.weighed.side_effects is None, "what its host's facts do not tell is not scored"


def test_a_host_that_was_not_seen_leaves_the_whole_without_a_score_and_is_named() -> None:
    found = measured((*FORWARD, replace(lost("place"), host="web2")))
    assert found.weighed is not None
    assert (found.observed, found.weighed.side_effects, len(found.changes)) == ("none", None, 2)
    assert found.notes == ("web2: not all that changed there was seen (place)",)


def test_hooks_may_change_and_remove_what_they_may_write_and_nothing_else() -> None:
    hooks = {"activate": Hook(("x",), writes=("/srv/seen",)), "after": Hook(("y",))}
    app = replace(APP, shared=("data",), **hooks)
    places = ("/srv/shop/shared/data/x", "/srv/seen/x", "/srv/shop/releases/r2/x")
    changes = [file(path, op) for path, op in zip(places, ("delete", "delete", "modify"), strict=True)]
    back = file("/srv/shop/releases/r1/x", "modify")
    rows = (hook("activate", *changes), hook("activate_back", back))
    assert measured(rows, deployment(app)).weighed.side_effects == 1.0
    beyond = measured((hook("after", file("/etc/passwd", "modify")),), deployment(app), web1=HostFacts("web1"))
    assert beyond.weighed.side_effects == 0.0


def test_a_rollback_may_change_what_its_hook_may_write() -> None:
    app = replace(APP, activate=Hook(("x",)))
    made = deployment(app)
    states = [HostState(host, live="r1", current="link", kept=(KeptRelease("r0", "b" * 64),)) for host in app.hosts]
    rows = (told("switch", link("r0", "r1")), hook("activate", file("/srv/shop/releases/r0/cache")))
    found = measured(rows, replace(made, rollout=rollback_rollout(app, "r0", states)))
    assert found.weighed.side_effects == 1.0


def test_an_app_whose_path_leads_elsewhere_is_expected_where_it_really_lies() -> None:
    real = {**RELEASE, "path": "/data/shop/releases/r2"}
    assert measured((told("claim", real="/data/shop"), told("place", real))).weighed.side_effects == 1.0


def test_an_action_of_a_service_is_not_measured() -> None:
    app = replace(APP, service=Service("nginx"))
    rollout = service_rollout(app, "restart", [HostState(host) for host in app.hosts])
    rows = [StepRow("c1", "web1", "service", state="done")]
    found = measured(rows, replace(deployment(app), rollout=rollout))
    assert (found.observed, found.changes, found.weighed) == ("none", (), None)
