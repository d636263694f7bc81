"""The program: the runner's parts as one readable text, and the line that starts it on a host. It connects to nothing.

The text is sent compressed over the standard input of a few words of Python, which read exactly its length, verify its
digest and execute it; so a dropped upload starts nothing, and nothing is written on the host.
"""

from __future__ import annotations

import ast
import hashlib
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from interlock.hosts.wire import Exec

# In this order, so that each part finds the names it needs; a test holds that none is left out.
PARTS = (
    "steps", "kernel", "layout", "masks", "building", "room", "probe",
    "tree", "copying", "contents", "changes", "acts", "preparing", "landing", "undoing",
    "measuring", "filework", "fileplans",
    "frames", "rundirs", "gone", "processes", "recording", "orders", "ending", "spooling", "services", "launching",
    "supervise", "measured", "held", "starting", "spares", "following", "working", "settling", "expiring", "putting",
    "artifacts", "tarballs", "zips", "unpacking", "appfolders", "appchanges", "appclaims", "appuploads", "sharing",
    "placing", "currents", "filesets", "filelooking", "fileimages", "filelanding", "engines", "releases",
    "jobs", "lines", "looping", "telling", "serving",
)  # fmt: skip
PYTHONS = ("python3", "/usr/libexec/platform-python", *(f"python3.{minor}" for minor in range(13, 5, -1)))
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
NO_PYTHON_STATUS = 127
_OURS = "interlock.runner."
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WORD = re.compile(r"[A-Za-z0-9_./:=+,@%-]*")

# Inside single quotes of any login shell: no ' and no ! and no backslash and no line end.
# A child compiles it, so that the memory which that takes is gone when the first process is forked from this one.
_BOOTSTRAP = (
    "import os,sys,zlib,hashlib,marshal;n=%d;b=bytearray();"
    "[b.extend(os.read(0,n-len(b)) or sys.exit(3)) for _ in iter(lambda:len(b)<n,False)];"
    't=zlib.decompress(bytes(b));hashlib.sha256(t).hexdigest()=="%s" or sys.exit(4);r,w=os.pipe();'
    'os.fork() or [open(w,"wb",0).write(marshal.dumps(compile(t,"interlock-runner","exec"))),os._exit(0)];'
    'os.close(w);g={"__name__":"interlock_runner"};exec(marshal.loads(open(r,"rb").read()),g);os.wait();'
    'g["serve"](0,1,"%s")'
)
_SEEK = (
    'echo "$2 $$ 0"; echo "$2 $$ 0" >&2; m=$1; shift 2; for p; do '
    'if command -v "$p" >/dev/null 2>&1; then exec "$p" -I -S -B -c "$m"; fi; done; exit 127'
)


@dataclass(frozen=True, slots=True)
class Program:
    """The runner as it is sent: its text, the digest of that, and what goes over the wire."""

    text: str
    digest: str

    @property
    def packed(self) -> bytes:
        """The text as it is sent: compressed."""
        return _packed(self.text)


@cache
def _packed(text: str) -> bytes:
    return zlib.compress(text.encode(), 9)


@cache
def program() -> Program:
    """The parts of this installation, joined. Raises ValueError where they cannot be joined."""
    folder = files("interlock.runner")
    text = joined({name: folder.joinpath(f"{name}.py").read_text("utf-8") for name in PARTS})
    return Program(text, hashlib.sha256(text.encode()).hexdigest())


def bootstrap(sent: Program) -> str:
    """What `python3 -c` is given: it reads the packed program from fd 0, verifies it, and serves fd 0 and 1."""
    return _BOOTSTRAP % (len(sent.packed), sent.digest, sent.digest)


def runner_exec(become: str = "", environment: Mapping[str, str] | None = None) -> Exec:
    """The exec string that starts the program under any login shell; its marker is the first line on both streams.

    The program's packed text is to be sent at once; then requests may follow without waiting for a word.

    It exits with NO_PYTHON_STATUS where the host has no Python. Raises ValueError for what is no plain word.
    """
    marker = f"interlock-{secrets.token_hex(12)}"
    variables = {"PATH": SYSTEM_PATH, "LC_ALL": "C", **(environment or {})}
    pairs = [f"{name}={value}" for name, value in variables.items()]
    if (become and not _USER.fullmatch(become)) or not all(map(_WORD.fullmatch, pairs)):
        raise ValueError("not a plain word")
    words = ["/usr/bin/env", "-i", *pairs, "/bin/sh", "-c", f"'{_SEEK}'", "sh", f"'{bootstrap(program())}'", marker]
    elevated = ["sudo", "-n", "-u", become, "--"] if become else []
    return Exec(" ".join(["exec", *elevated, *words, *PYTHONS]), marker.encode())


# ── joining ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def joined(parts: dict[str, str]) -> str:
    """One text of all parts: imports at the top, docstrings as comments. Raises ValueError where names collide."""
    imports: set[str] = set()
    owners: dict[str, str] = {}
    sections = []
    for part, text in parts.items():
        module = ast.parse(text, part)
        for name in _top_names(module):
            if owners.setdefault(name, part) != part:
                raise ValueError(f"{name} is a name of {owners[name]} and of {part}")
        imports |= set(_imports(module))
        sections.append(_section(part, text, module))
    return "\n".join([*sorted(imports), "", *sections])


def _imports(module: ast.Module) -> Iterator[str]:
    """The part's imports from the standard library, one name each."""
    for node in module.body:
        if isinstance(node, ast.Import):
            yield from (f"import {ast.unparse(alias)}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not f"{node.module}.".startswith(_OURS):
            yield from (f"from {node.module} import {ast.unparse(alias)}" for alias in node.names)


def _section(part: str, text: str, module: ast.Module) -> str:
    """The part's own text without its docstring and imports, under its docstring as a comment."""
    lines = text.splitlines()
    taken = [node for node in module.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in [*module.body[:1], *taken] if ast.get_docstring(module) else taken:
        lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    about = [f"# {line}".rstrip() for line in (ast.get_docstring(module) or "").splitlines()]
    own = "\n".join(lines).strip()
    return "\n".join([f"# ── {part} " + "─" * (100 - len(part)), *about, "", "", own, "", ""])


def _top_names(module: ast.Module) -> Iterable[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
