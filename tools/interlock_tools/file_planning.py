"""File planning: what a set of files changes on a host, and why it cannot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interlock_tools.apps import App
from interlock_tools.effects import Effect, EffectKind
from interlock_tools.found import ABSENT, FoundFile, HostState, KeptFile
from interlock_tools.rollout import FilePlan, HostPlan, Rollout

ORIGINAL = "original"  # the release that is what was there before the first one
SHA256_CHARS = 64
HOSTS_SAID_MAX = 10
WORDS_MAX = 100
NOTHING = FoundFile("", ABSENT)


def file_plans(state: HostState, wanted: Mapping[str, KeptFile]) -> tuple[FilePlan, ...]:
    """What has to change on a host until it has these files: its own of the live set that are not among them go.

    What lay there before the first release was nobody's to remove.
    """
    kept = state.release(state.live)
    live = kept.files if kept is not None else {}
    found = []
    for target, file in wanted.items():
        now = state.found.get(target, NOTHING)
        if not now.is_as(file):
            secret = file.secret or (target in live and live[target].secret)
            found.append(FilePlan(target, now.real or target, now.state, file.sha256, secret))
    for target, file in live.items():
        now = state.found.get(target, NOTHING)
        if target not in wanted and now.state != ABSENT and state.live != ORIGINAL:
            found.append(FilePlan(target, now.real or target, now.state, ABSENT, file.secret))
    return tuple(sorted(found, key=lambda file: file.target))


def drifted(state: HostState) -> tuple[str, ...]:
    """The targets of the live set that are not as it left them."""
    kept = state.release(state.live)
    files = kept.files.items() if kept is not None else ()
    return tuple(sorted(target for target, file in files if not state.found.get(target, NOTHING).is_as(file)))


def unfit_files(app: App, plans: Sequence[HostPlan]) -> str:
    """Why these files cannot be changed on some host, in words; "" where they can."""
    for plan in plans:
        for file in plan.files:
            if file.before != ABSENT and len(file.before) != SHA256_CHARS:
                what = "too large a file" if file.before == "large" else f"a {file.before}"
                return f"{plan.host}: {file.target} is {what} and no file that a set could replace"
            if file.after != ABSENT and not is_configured(app, file.target):
                return f"{plan.host}: {file.target} is not among the app's files any more"
    return ""


def is_configured(app: App, target: str) -> bool:
    """Whether the operator lets the app put a file there."""
    return any(
        target.startswith(spec.target) if spec.target.endswith("/") else target == spec.target for spec in app.files
    )


def file_effects(plan: HostPlan, by: str) -> list[Effect]:
    """What the files of a plan write and delete on its host, where they really lie."""
    kinds = {True: EffectKind.DELETE, False: EffectKind.WRITE}
    return [Effect(kinds[file.after == ABSENT], file.real, by) for file in plan.files]


def file_words(rollout: Rollout) -> tuple[str, ...]:
    """Each change of a file in a line, with the hosts on which it is the same one."""
    hosts: dict[tuple[str, str, str, str], list[str]] = {}
    for plan in rollout.hosts:
        for file in plan.files:
            hosts.setdefault((file.word, file.target, file.before, file.after), []).append(plan.host)
    lines = [f"{word} {target} on {named(names)}" for (word, target, _, _), names in hosts.items()]
    more = len(lines) - WORDS_MAX
    return (*lines[:WORDS_MAX], *((f"… and {more} more changes of files",) if more > 0 else ()))


def named(hosts: Sequence[str]) -> str:
    """The first hosts, and how many more there are."""
    more = len(hosts) - HOSTS_SAID_MAX
    return ", ".join(hosts[:HOSTS_SAID_MAX]) + (f" and {more} more" if more > 0 else "")
