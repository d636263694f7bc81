"""Held layers: whether what lies in one still holds what was shown, byte by byte. It reads, and lands nothing.

Within one boot the seals tell: they have every inode's change time, and all that is written is in the same memory. A
crash of the host is different: layers are not written out while they wait, and their names, sizes and times may be on
disk where their bytes are not. So what was measured before another boot is read again before it lands.
"""

import hashlib
from typing import Any, Dict

from interlock.runner.changes import is_whiteout
from interlock.runner.contents import content_line
from interlock.runner.copying import read_xattrs
from interlock.runner.tree import ABSENT_ERRNOS, Folders, LayerFault, link_target, place_of, reachable, walk_tree


def require_content(record: Dict[str, Any]) -> None:
    """Raises LayerFault("moved") where a source does not hold what its diff was made from, OSError."""
    folders = Folders()
    # A directory's meta needs no second look: its seal is a hash of the meta itself.
    metas = {change["path"] for change in record["changes"] if change["op"] == "meta" and change["kind"] == "directory"}
    contents = record.get("contents", {})
    try:
        for path, source in record["sources"].items():
            if path in contents and path not in metas and _content_of(folders, source) != contents[path]:
                raise LayerFault("moved", "%s is not in the layer any more as it was shown" % path, path)
    finally:
        folders.close()


def _content_of(folders: Folders, source: str) -> str:
    try:
        return tree_content(*folders.at(source))
    except OSError as fault:
        if fault.errno in ABSENT_ERRNOS:
            return ""  # it is not there
        raise


def tree_content(up: int, name: str) -> str:
    """The hash of a name in a layer and of all below it, as the reading of the layer made it. Raises OSError."""
    content = hashlib.sha256()
    for rel, held, child, seen in walk_tree(up, name, ours=True):
        if not is_whiteout(seen):
            with reachable(held, child):
                xattrs = read_xattrs(place_of(held, child))
                content.update(content_line(rel, held, child, seen, link_target(held, child, seen), xattrs))
    return content.hexdigest()
