"""Bare hosts for tests: a real OpenSSH server that sees no Python, with its run directories in a folder of the test."""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import sshd
from interlock.hosts.link import Link, Live
from sshd import Sshd, running_sshd

RUNS = "/var/lib/interlock-runs"
BUSYBOX = shutil.which("busybox") or ""
# What plain.sh uses (dash is /bin/sh): on a host of busybox alone all of it is one program.
TOOLS = "dash cat chmod dd du env find grep head ls mkdir mkfifo mv rm setsid sleep tail tee tr wc printf".split()
SSHD = sshd.SSHD
_numbers = itertools.count(1)
needs_busybox = pytest.mark.skipif(not BUSYBOX, reason="there is no busybox on this machine")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="a host without Python is made with mounts, which root may do"
)


def _script(folder: Path, runs: Path, *, busybox: bool) -> Path:
    """A program that is sshd in a mount namespace of its own."""
    binds = [f"mount --bind {runs} {RUNS}"]
    pythons = [path for path in Path("/usr/bin").glob("python3*") if path.is_file() and not path.is_symlink()]
    binds += [f"mount --bind /dev/null {path}" for path in pythons]
    if busybox:
        binds += [f"mount --bind {BUSYBOX} {os.path.realpath(found)}" for found in map(shutil.which, TOOLS) if found]
    program = folder / f"sshd{next(_numbers)}"
    lines = ["mkdir -p " + RUNS, *binds, f'exec {SSHD} "$@"']
    inner = folder / f"{program.name}.inner"
    inner.write_text("\n".join(["set -e", *lines]) + "\n")
    program.write_text(f'#!/bin/bash\nexec unshare --mount --propagation private /bin/bash {inner} "$@"\n')
    program.chmod(0o755)
    return program


@contextmanager
def bare_sshd(folder: Path, *, busybox: bool = False, **options: str) -> Iterator[tuple[Sshd, Path]]:
    """A started server without Python, and where its run directories lie."""
    runs = folder / "runs"
    runs.mkdir(parents=True, mode=0o700)
    program = _script(folder, runs, busybox=busybox)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sshd, "SSHD", str(program))
            server = stack.enter_context(running_sshd(folder / "sshd", **options))
        yield server, runs


async def no_outpost(link: Link, live: Live) -> None:
    """In place of `Link.outpost`: the host is known to have no Python, and is not asked."""
    live.no_runner = f"{link.host.name} has none"
