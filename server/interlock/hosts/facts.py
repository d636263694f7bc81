"""Facts of a host: its home and working directory, asked of it once a connection. It changes nothing there."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

import asyncssh

from interlock.hosts.dial import login_user
from interlock.hosts.environment import Surroundings
from interlock.hosts.faults import Faulted, describe, unreachable
from interlock.hosts.link import Link, Live
from interlock.hosts.quick import ask
from interlock.hosts.resolve import resolve_paths
from interlock.hosts.sandbox import home_beside
from interlock.ports import PathQuery
from interlock.settings import facts_of
from interlock_policies.facts import HostFacts, Level
from interlock_policies.obligations import CONTAINMENT_LEVELS
from interlock_tools.call import Json
from interlock_tools.errors import Refusal

_HOME = "home"


async def surroundings(link: Link, live: Live) -> Surroundings:
    """The home of whom the host's commands run as, and where they start. Raises Faulted."""
    if _HOME not in live.known:
        live.known[_HOME] = await _home(link, live)
    home = live.known[_HOME]
    return Surroundings(home, link.host.cwd or home or "/")


async def _home(link: Link, live: Live) -> str:
    if link.host.embedded:
        return home_beside(link.host.cwd)
    home = ""
    if not link.host.become:
        home = await _login_home(link, live)
    if not home:
        said = await ask(link, live, "printf %s ~")  # with HOME unset bash asks the system's own list of users
        home = said.stdout.strip()
    return posixpath.normpath(home) if home.startswith("/") else "/"


async def _login_home(link: Link, live: Live) -> str:
    """Where the login's file channel begins; "" where the host offers none."""
    try:
        async with link.files(live) as sftp:
            return str(await sftp.realpath("."))
    except asyncssh.ChannelOpenError:
        raise
    except (OSError, asyncssh.Error) as fault:
        raise unreachable(f"the host did not say where its home is: {describe(fault)}") from None
    except Faulted:
        if live.lost.is_set():
            raise
        return ""


async def facts(link: Link, live: Live, timeout_seconds: float) -> HostFacts:
    """What policy knows of this host, its places resolved there: effects are compared with them. Raises Faulted."""
    around = await surroundings(link, live)
    if live.facts is None:
        known = facts_of(link.host, home=around.home)
        known = known if known.user else replace(known, user=login_user(link.host))
        known = await _with_abilities(known, link, live)
        live.facts = await _with_real_places(known, link, live, timeout_seconds)
    return live.facts


async def _with_abilities(known: HostFacts, link: Link, live: Live) -> HostFacts:
    """The same facts with what the host's runner really did there: how it can contain, and that it can undo."""
    outpost = await link.outpost(live)
    if outpost is None:
        return known
    abilities: Mapping[str, Json] = outpost.hello.get("abilities") or {}
    most = Level[link.host.containment.upper()]
    reached = [str(level) for level in abilities.get("levels") or () if str(level) in CONTAINMENT_LEVELS]
    levels = tuple(dict.fromkeys(["none", *(level for level in reached if CONTAINMENT_LEVELS[level] <= most)]))
    separates = bool(abilities.get("loopback_separable"))
    return replace(known, containment=levels, separates_loopback=separates, undo=most is Level.STAGED)


async def _with_real_places(known: HostFacts, link: Link, live: Live, timeout_seconds: float) -> HostFacts:
    """The same facts with links followed. What is protected or masked stays so under its written name too."""
    masked = {place: _fixed(place) for place in known.masked}
    places = dict.fromkeys((known.home, *known.workspace, *known.protected, *masked.values()))
    queries = [PathQuery(place) for place in places if place.startswith("/")]
    try:
        async with link.files(live) as sftp:
            found = await resolve_paths(sftp, queries, timeout_seconds, lenient=not live.is_openssh)
    except Faulted:
        if live.lost.is_set():
            raise
        return known  # no files on this host: no path of it can be resolved, and so none is decided
    if isinstance(found, Refusal):
        raise Faulted(found, counts=False)
    real = {query.path: path for query, path in found.items()}
    return replace(
        known,
        home=real.get(known.home, known.home),
        workspace=tuple(real.get(place, place) for place in known.workspace),
        protected=tuple(dict.fromkeys([*known.protected, *(real.get(place, place) for place in known.protected)])),
        masked=tuple(
            dict.fromkeys([*masked, *(real.get(fixed, fixed) + place[len(fixed) :] for place, fixed in masked.items())])
        ),
    )


def _fixed(place: str) -> str:
    """What of a place with wildcards comes before the first of them, in whole components."""
    parts = place.split("/")
    wild = [number for number, part in enumerate(parts) if set("*?[") & set(part)]
    return "/".join(parts[: wild[0]]) if wild else place
