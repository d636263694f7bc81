"""Seeded commands with canary side effects, and the trees they change, walked before and after. It guards nothing.

A case lays out one tree twice. On the first the guarded call runs; on the twin the plain command does, and what a walk
of the twin sees before and after is the truth that the answer is held against: path by path, operation by operation.
"""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEVELS = ("staged", "confined")
OLD_SECONDS = 1_400_000_000
COMMAND_SECONDS = 30.0
AREAS = ("open", "beside", "data", "config")  # the first is declared
Entry = tuple[Any, ...]
Truth = dict[str, str]  # path → create, modify, delete or meta


@dataclass(frozen=True)
class Deed:
    """One kind of change: what has to lie there, and the command; {0} is a name of its own, quoted."""

    before: str
    command: str
    severe: bool = False
    name: str = ""  # where the name itself is what matters


_SET_ATTRIBUTE = """python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.canary", b"1")' {0}"""
DEEDS: dict[str, Deed] = {
    "create": Deed("", "echo new > {0}"),
    "create a folder": Deed("", "mkdir {0}"),
    "create below a new folder": Deed("", "mkdir -p {0}/a/b && echo new > {0}/a/b/c"),
    "append": Deed("echo text > {0}", "echo more >> {0}"),
    "same size, same time": Deed(
        "echo text > {0}", "touch -r {0} /tmp/canary && echo tEXT > {0} && touch -r /tmp/canary {0}"
    ),
    "empty": Deed("echo text > {0}", "true > {0}"),
    "delete": Deed("echo text > {0}", "rm {0}"),
    "delete a tree": Deed("mkdir -p {0}/a && echo text > {0}/a/b", "rm -r {0}"),
    "delete within": Deed("mkdir {0} && echo text > {0}/a", "rm {0}/a"),
    "mode": Deed("echo text > {0}", "chmod 600 {0}"),
    "mode of a folder": Deed("mkdir {0}", "chmod 700 {0}"),
    "owner": Deed("echo text > {0}", "chown 65534:65534 {0}"),
    "owner of a link": Deed("ln -s nowhere {0}", "chown -h 65534:65534 {0}"),
    "time": Deed("echo text > {0}", "touch -d 2001-01-01T00:00:00Z {0}"),
    "time of a link": Deed("ln -s nowhere {0}", "touch -h -d 2001-01-01T00:00:00Z {0}"),
    "attribute": Deed("echo text > {0}", _SET_ATTRIBUTE),
    "attribute of a folder": Deed("mkdir {0}", _SET_ATTRIBUTE),
    "link": Deed("", "ln -s nowhere {0}"),
    "link elsewhere": Deed("ln -s nowhere {0}", "ln -sfn somewhere {0}"),
    "link for a file": Deed("echo text > {0}", "ln -sf nowhere {0}"),
    "another name": Deed("echo text > {0}", "ln {0} {0}-2"),
    "rename": Deed("echo text > {0}", "mv {0} {0}-2"),
    "rename a tree": Deed("mkdir -p {0}/a && echo text > {0}/a/b", "mv {0} {0}-2"),
    "rename over": Deed("echo text > {0} && echo new > {0}-2", "mv -f {0}-2 {0}"),
    "fifo": Deed("", "mkfifo {0}"),
    "another's rights": Deed("cp /bin/true {0}", "chmod u+s {0}", severe=True),
    "who may log in": Deed("", "echo key >> {0}", severe=True, name="authorized_keys"),
    "what a shell starts": Deed("echo true > {0}", "echo false >> {0}", severe=True, name=".profile"),
}
HARMLESS = (
    "cat {0}", "true >> {0}", "echo note > /tmp/canary-note", "ls -l . > /dev/null", "test -e {0} || true",
    "T=$(mktemp) && echo 1 > $T && rm $T",
)  # fmt: skip
NAMES = ("f{}", "a b {}", "ü{}", "it's {}", "$x{}", "[{}]*", "x{}.txt")


@dataclass(frozen=True)
class Case:
    """One seeded call. `done`: (area, name, deed), in order; `unread`: as a script that analysis does not see into."""

    seed: int
    level: str
    may_delete: bool
    done: tuple[tuple[str, str, str], ...]
    harmless: tuple[str, ...]
    unread: bool

    def covers(self, path: str, op: str) -> bool:
        """Whether the declaration covers this change of a path of the tree."""
        return path.split("/", 1)[0] == AREAS[0] and (op != "delete" or self.may_delete)

    def is_severe(self, path: str) -> bool:
        """Whether a canary at this path is one of those that leave no score at all."""
        return any(path == f"{area}/{name}" and DEEDS[deed].severe for area, name, deed in self.done)


def drawn(seed: int, level: str) -> Case:
    """The case of a seed: about a third of them do only what they declare."""
    draw = random.Random(f"{seed} {level}")
    mild = sorted(name for name, deed in DEEDS.items() if not deed.severe)
    done = [(AREAS[0], draw.choice(mild)) for _ in range(draw.randint(0, 3))]
    if draw.random() < 0.65:
        done += [(draw.choice(AREAS[1:]), draw.choice(sorted(DEEDS))) for _ in range(draw.randint(1, 3))]
    draw.shuffle(done)
    named = []
    for number, (area, deed) in enumerate(done):
        own = DEEDS[deed].name
        named.append((area, f"{number}/{own}" if own else draw.choice(NAMES).format(number), deed))
    harmless = tuple(draw.sample(HARMLESS, draw.randint(0, 2)))
    # On a host that only confines, what analysis can read is refused by its text: there, the kernel is what is tried.
    unread = level == "confined" or draw.random() < 0.5
    return Case(seed, level, draw.random() < 0.8, tuple(named), harmless, unread)


# ── the tree, twice ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Tree:
    """The four areas of a case: two in the workspace, one in data, one in configuration."""

    places: dict[str, Path]

    def path(self, area: str, name: str) -> Path:
        return self.places[area] / name

    def lay_out(self, case: Case) -> None:
        for area in AREAS:
            self.places[area].mkdir(parents=True, exist_ok=True)
            (self.places[area] / "still").write_text("unchanged\n")
        for area, name, deed in case.done:
            path = self.path(area, name)
            path.parent.mkdir(exist_ok=True)
            if DEEDS[deed].before:
                run_plainly(DEEDS[deed].before.format(shlex.quote(str(path))), path.parent)
        for area in AREAS:
            for path in (*self.places[area].rglob("*"), self.places[area]):
                os.utime(path, (OLD_SECONDS, OLD_SECONDS), follow_symlinks=False)

    def command(self, case: Case) -> str:
        lines = [DEEDS[deed].command.format(shlex.quote(str(self.path(area, name)))) for area, name, deed in case.done]
        still = shlex.quote(str(self.path("open", "still")))
        return "; ".join([*lines, *(line.format(still) for line in case.harmless), "true"])

    def picture(self) -> dict[str, Entry]:
        """Everything in the areas, under names that both trees share."""
        found = {}
        for area, place in self.places.items():
            for path in (place, *place.rglob("*")):
                found[f"{area}/{path.relative_to(place)}" if path != place else area] = _entry(path)
        return found


def _entry(path: Path) -> Entry:
    seen = path.lstat()
    kind = stat.S_IFMT(seen.st_mode)
    content = ""
    if stat.S_ISREG(seen.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(seen.st_mode):
        content = str(path.readlink())
    named = sorted(os.listxattr(path, follow_symlinks=False))
    attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in named)
    mode = 0 if stat.S_ISLNK(seen.st_mode) else stat.S_IMODE(seen.st_mode)
    # When a directory changed follows from its entries; when something was written just now differs from run to run.
    time = 0 if stat.S_ISDIR(seen.st_mode) else seen.st_mtime_ns
    names = seen.st_nlink if stat.S_ISREG(seen.st_mode) else 1
    return (kind, content), (mode, seen.st_uid, seen.st_gid, attributes), time, names


def changes_between(before: dict[str, Entry], after: dict[str, Entry]) -> Truth:
    """What a walk before and one after tell apart."""
    truth = {}
    for path in sorted({*before, *after}):
        was, now = before.get(path), after.get(path)
        if was is None or now is None:
            truth[path] = "create" if was is None else "delete"
        elif was[0] != now[0]:
            truth[path] = "modify"
        elif was[1:3] != now[1:3]:
            truth[path] = "meta"
    return truth


def names_between(before: dict[str, Entry], after: dict[str, Entry]) -> set[str]:
    """Files that got or lost another name and are otherwise what they were: no change of theirs, though one is seen."""
    both = before.keys() & after.keys()
    return {path for path in both if before[path][:3] == after[path][:3] and before[path] != after[path]}


def run_plainly(command: str, cwd: Path) -> None:
    """The command as it is, without a guard."""
    subprocess.run(
        ["/bin/bash", "-c", command], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip
