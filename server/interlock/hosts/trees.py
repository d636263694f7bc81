"""Whole trees: deleted or copied by the host's own rm and cp, which never follow a link on the way. One command each.

A walk over SFTP could be led astray by a folder that is swapped for a link halfway; these hold each folder open.
"""

from __future__ import annotations

import posixpath
import secrets
import shlex
from dataclasses import dataclass

from interlock.hosts.ending import ask_or_end
from interlock.hosts.faults import Faulted
from interlock.hosts.quick import Said
from interlock.hosts.site import Site
from interlock_tools.errors import CommandFailed, Refusal, StaleState

SWAPPED = 98
COUNT_MAX = 1_000_000

# Enters the folder and makes sure that it is the one that was resolved: everything after goes by the open folder.
_ENTER = 'cd -P -- {folder} && [ "$(pwd -P)" = {folder} ] || exit 98\n'
_DELETE = (
    "n=$(find {name} -xdev -printf x 2>/dev/null | head -c {most} | wc -c)\n"
    "rm -rf --one-file-system -- {name} || rm -rf -- {name} || exit 1\n"
    "[ ! -e {name} ] && [ ! -L {name} ] || exit 1\n"
    'echo "$n"\n'
)
_COPY = (
    "trap 'rm -rf -- {temporary}' EXIT\n"
    "cp -R -P -p -- {source} {temporary} || exit 1\n"
    "[ ! -e {name} ] && [ ! -L {name} ] || exit 99\n"
    "mv -T -n -- {temporary} {name} || exit 1\n"
    "[ ! -e {temporary} ] || exit 99\n"
    "find {name} -printf x 2>/dev/null | head -c {most} | wc -c\n"
)


@dataclass(frozen=True, slots=True)
class TreeDone:
    """How many entries a tree held that was deleted or copied (the tree's own folder counts)."""

    entries: int


async def delete_tree(site: Site, real: str) -> TreeDone:
    """Delete a resolved folder and all in it, staying on its file system. Raises Faulted."""
    name = shlex.quote("./" + posixpath.basename(real))
    said = await _run(site, real, _DELETE.format(name=name, most=COUNT_MAX))
    return _done(site, said, real)


async def copy_tree(site: Site, source: str, real: str) -> TreeDone:
    """Copy a resolved folder to a name that is not there, complete or not at all; links stay links. Raises Faulted."""
    name = shlex.quote("./" + posixpath.basename(real))
    temporary = f"./.interlock-{secrets.token_hex(12)}"
    script = _COPY.format(name=name, temporary=temporary, source=shlex.quote(source), most=COUNT_MAX)
    said = await _run(site, real, script)
    return _done(site, said, real)


async def _run(site: Site, real: str, script: str) -> Said:
    folder = shlex.quote(posixpath.dirname(real))
    async with site.link.gate.enter():
        site.begun = True
        return await ask_or_end(
            site.link,
            site.live,
            _ENTER.format(folder=folder) + script,
            call_id=site.run.call_id,
            timeout_seconds=site.run.timeout_seconds,
        )


def _done(site: Site, said: Said, real: str) -> TreeDone:
    count = said.stdout.strip()
    if said.exit_code == 0:
        return TreeDone(int(count) if count.isdigit() else 0)
    site.begun = said.exit_code not in (SWAPPED, 99)
    raise Faulted(_refusal(site, said, real), began=site.begun, counts=False)


def _refusal(site: Site, said: Said, real: str) -> Refusal:
    if said.exit_code == SWAPPED:
        reason = f"the folder of {real} leads elsewhere now; nothing was changed"
        return StaleState(path="path", reason=reason, recovery=site.look(real))
    if said.exit_code == 99:
        return StaleState(path="destination", reason=f"{real} exists by now", recovery=site.look(real))
    words = " ".join(said.stderr.split())[:300]
    return CommandFailed(reason=f"part of it may be done: {words}")
