"""Changes as a host measures them, written short, and strategies that make many of them."""

from __future__ import annotations

from hypothesis import strategies as st

from interlock_tools.changes import Change, ChangeOp

OPS = {"+": ChangeOp.CREATE, "~": ChangeOp.MODIFY, "-": ChangeOp.DELETE, "m": ChangeOp.META}


def change(text: str) -> Change:
    """`+/a` a file was created, `~/a` modified, `-/a` deleted, `m/a` its mode; with a slash at the end a directory."""
    kind = "directory" if text.endswith("/") and len(text) > 2 else "file"
    op = OPS[text[0]]
    was = None if op is ChangeOp.CREATE else {"kind": kind}
    return Change(op, text[1:].rstrip("/") or "/", kind, mode=0o644, was=was)


def changes(*texts: str) -> tuple[Change, ...]:
    return tuple(map(change, texts))


NAMES = st.sampled_from(["a", "b", "conf", "hooks", ".git", ".env", "x y", "ä", "n\nl", "s\udc80", "e" * 300])
ROOTS = st.sampled_from(["/srv/app", "/etc", "/etc/nginx", "/tmp", "/home/agent", "/var/lib/x", "/usr/bin", "/opt"])
PATHS = st.builds(lambda root, parts: "/".join([root, *parts]), ROOTS, st.lists(NAMES, min_size=1, max_size=4))
CHANGES = st.builds(
    Change,
    op=st.sampled_from(ChangeOp),
    path=PATHS,
    kind=st.sampled_from(["file", "directory", "link"]),
    mode=st.sampled_from([0o644, 0o4755]),
    below=st.sampled_from([0, 3]),
    was=st.sampled_from([None, {"kind": "file"}, {"kind": "directory"}]),
)
DIFFS = st.lists(CHANGES, max_size=8, unique_by=lambda found: found.path).map(tuple)
