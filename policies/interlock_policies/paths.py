"""Path classes: what kind of thing an absolute path is on a host. Lexical only; it never looks at a disk.

Paths come resolved (links followed on their host). A directory that is touched as a whole (a recursive effect, a glob)
touches every class below it: `reach` answers that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache

from interlock_policies.facts import HostFacts
from interlock_policies.places import HOLDING, KNOWN, NAMES, TOP


class PathClass(StrEnum):
    """What kind of thing a path is. One path can be several (an SSH key is identity and secret)."""

    ROOT = "root"  # / itself, and whatever is no absolute path
    TOP = "top"  # a standard directory itself: /etc, /home, /var/lib …
    SYSTEM = "system"  # the operating system: /usr, /bin, /lib, devices, package databases
    BOOT = "boot"  # /boot and /efi; always together with system
    BLOCK_DEVICE = "block_device"  # disks, raw memory, the kernel's panic button
    IDENTITY = "identity"  # who may log in, become root, or run at start: accounts, sudo, ssh, cron, start-up files
    SECRET = "secret"  # noqa: S105 (a class's name): reading it matters: keys, credentials, environments of processes
    AUDIT = "audit"  # what happened: audit log, journal, logins
    INTERLOCK = "interlock"  # Interlock's own files there
    CONFIG = "config"  # /etc, /usr/local, /opt's etc
    DATA = "data"  # /var, /srv, /opt, mounts
    SCRATCH = "scratch"  # /tmp, /var/tmp, /dev/shm
    REPOSITORY = "repository"  # what git runs by itself in a repository: hooks, and what its settings name
    WORKSPACE = "workspace"  # where agents work on this host
    WORKSPACE_ROOT = "workspace_root"  # a workspace itself, or some unnamed part of all that lies in it
    HOME = "home"
    PSEUDO = "pseudo"  # /proc, /sys
    SINK = "sink"  # /dev/null, terminals, a command's own streams: writing there changes nothing
    OTHER = "other"


_KNOWN = {place: frozenset(map(PathClass, classes)) for place, classes in KNOWN.items()}
_HOLDING = tuple((pattern, frozenset(map(PathClass, classes))) for pattern, classes in HOLDING)
_NAMES = tuple((pattern, frozenset(map(PathClass, classes))) for pattern, classes in NAMES)
# Where these hold, an area in which agents may work freely is no such thing.
_GRAVE = frozenset(
    {
        PathClass.ROOT,
        PathClass.SYSTEM,
        PathClass.BLOCK_DEVICE,
        PathClass.IDENTITY,
        PathClass.AUDIT,
        PathClass.INTERLOCK,
    }
)
# What these say holds in an agent's own area, too.
_EVERYWHERE = frozenset({PathClass.SECRET, PathClass.REPOSITORY})
# /proc/PID/root is another name of the same files; /proc/PID/cwd leads to where only the kernel knows.
_PROC_DOOR = re.compile(r"/proc/[^/]+(?:/task/[^/]+)?/(root|cwd)(?=/|$)")
_HOME_ROOT = re.compile(r"(/root|/home/[^/]+)(?=/|$)")


def normalised(path: str) -> str:
    """The path without `.`, `..`, doubled or trailing slashes; "" where it is not absolute or holds a NUL."""
    if not path.startswith("/") or "\0" in path:
        return ""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def is_within(path: str, tree: str) -> bool:
    """True where `path` is `tree` or lies below it; both absolute and normalised. Nothing lies within ""."""
    return bool(tree) and (tree in {path, "/"} or path.startswith(tree + "/"))


def is_within_place(path: str, place: str) -> bool:
    """Like `is_within`, where `place` may have the wildcards of a shell (`*`, `?`, `[ab]`) in its components."""
    return place == "/" or _is_match(path.split("/"), place.split("/"))


def _may_hold(directory: str, place: str) -> bool:
    """Whether what `place` names may lie in the directory, or be it."""
    return directory == "/" or _is_match(place.split("/"), directory.split("/"))


def _is_match(parts: list[str], leading: list[str]) -> bool:
    pairs = list(zip(parts, leading, strict=False))
    return len(pairs) == len(leading) and all(fnmatchcase(a, b) or fnmatchcase(b, a) for a, b in pairs)


def classify(path: str, host: HostFacts) -> frozenset[PathClass]:
    """Every class of one path on this host; never empty. What is no absolute path is `root`, the gravest."""
    clean = normalised(path)
    if not clean or clean == "/":
        return frozenset({PathClass.ROOT})
    door = _PROC_DOOR.match(clean)
    if door and door[1] == "cwd":
        return frozenset({PathClass.ROOT, PathClass.PSEUDO})
    if door:
        return classify(clean[door.end() :] or "/", host) | {PathClass.PSEUDO}
    found = set(_known(clean, normalised(host.home)))
    if any(is_within(clean, normalised(tree)) for tree in host.protected):
        found.add(PathClass.INTERLOCK)
    if any(is_within_place(clean, place) for place in map(normalised, host.masked) if place):
        found.add(PathClass.SECRET)
    if found & _GRAVE:
        found -= {PathClass.SCRATCH, PathClass.SINK}
    elif any(is_within(clean, tree) for tree in _workspaces(host)):
        at_root = clean in _workspaces(host)
        area = {PathClass.WORKSPACE} | ({PathClass.TOP, PathClass.WORKSPACE_ROOT} if at_root else set())
        found = (found & _EVERYWHERE) | area
    if not found - _EVERYWHERE:
        found.add(PathClass.OTHER)
    return frozenset(found)


def _workspaces(host: HostFacts) -> tuple[str, ...]:
    # "/" as a workspace would make everything one; it is no workspace.
    return tuple(tree for tree in map(normalised, host.workspace) if tree not in ("", "/"))


@dataclass(frozen=True, slots=True)
class Reach:
    """What an effect reaches: `own`, the classes of its target; `touches`, those and all it may hit below."""

    own: frozenset[PathClass]
    touches: frozenset[PathClass]


def reach(path: str, host: HostFacts, *, recursive: bool = False, exact: bool = True) -> Reach:
    """What an effect on `path` reaches. Not `exact`: its target is some unknown thing below `path`, at any depth."""
    clean = normalised(path) or "/"
    if exact:
        own = classify(path, host)
        return Reach(own, own | _below(clean, host)) if recursive else Reach(own, own)
    own = classify(f"{clean}/*", host)
    if clean == "/":
        own |= {PathClass.ROOT}
    if clean in _workspaces(host):
        own |= {PathClass.WORKSPACE_ROOT}
    return Reach(own, own | _below(clean, host))


def _below(directory: str, host: HostFacts) -> frozenset[PathClass]:
    home = normalised(host.home)
    found = set(_known_below(directory))
    # A home directory holds keys and start-up files; so does every directory that holds homes.
    if _HOME_ROOT.fullmatch(directory) or (home and is_within(home, directory)):
        found |= {PathClass.HOME, PathClass.IDENTITY, PathClass.SECRET}
    for pattern, classes in _HOLDING:
        if pattern.search(directory):
            found |= classes
    if any(_may_hold(directory, place) for place in map(normalised, host.masked) if place):
        found.add(PathClass.SECRET)
    protected = tuple(map(normalised, host.protected))
    for trees, kind in ((protected, PathClass.INTERLOCK), (_workspaces(host), PathClass.WORKSPACE)):
        if any(is_within(tree, directory) for tree in trees if tree):
            found.add(kind)
    return frozenset(found)


@lru_cache(maxsize=4_096)
def _known_below(directory: str) -> frozenset[PathClass]:
    found: set[PathClass] = set()
    for place, classes in _KNOWN.items():
        if place != directory and is_within(place, directory):
            found |= classes
    if any(top != directory and is_within(top, directory) for top in TOP):
        found.add(PathClass.TOP)
    if any(is_within(homes, directory) for homes in ("/root", "/home")):
        found |= {PathClass.HOME, PathClass.IDENTITY, PathClass.SECRET}
    return frozenset(found - {PathClass.SINK})


@lru_cache(maxsize=4_096)
def _known(path: str, home: str) -> frozenset[PathClass]:
    """The classes that every host shares: the deepest known place above the path, and what its name says."""
    found: set[PathClass] = set()
    if path in TOP or path == home or _HOME_ROOT.fullmatch(path):
        found.add(PathClass.TOP)
    if _HOME_ROOT.match(path) or (home and is_within(path, home)):
        found.add(PathClass.HOME)
    place = path
    while place:
        if place in _KNOWN:
            found |= _KNOWN[place]
            break
        place = place.rpartition("/")[0]
    for pattern, classes in _NAMES:
        if pattern.search(path):
            found |= classes
    # A disk behind another name is still a disk.
    return frozenset(found - {PathClass.SYSTEM}) if PathClass.BLOCK_DEVICE in found else frozenset(found)
