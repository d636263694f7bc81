"""App changes: what a deployment changed in an application's folder: noted before it is done, then told from the disk.

`.interlock/changes.json` holds for each path that one deployment is about to change what lay there before. So whoever
asks again, after a killed worker or a lost answer, is told the same; what was noted and did not come about is not told.
What lies in `.interlock` itself is the runner's own, and no change of the application.
"""

import contextlib
import json
import os
from typing import Any, Dict, List, Optional

from interlock.runner.appfolders import OWN_FOLDER, AppFolder, read_record, write_record
from interlock.runner.changes import change_of
from interlock.runner.tree import NO_SPACE_ERRNOS, LayerFault, fingerprint_at, walk_tree

CHANGES_NAME = "changes.json"
CHANGES_NOTED_MAX = 200
CHANGES_NOTED_CHARS_MAX = 60_000
LOOKS_NOTED = ("kind", "size", "mode", "uid", "gid", "target")
# By what an entry is known to be as it was: a file that was put back has its own time again.
ALIKE = {False: ("kind", "target"), True: ("kind", "size", "mode", "uid", "gid", "mtime_ns")}


class Noting:
    """The changes of one deployment in an open, locked folder, each with the step that made it. Raises OSError."""

    def __init__(self, app: AppFolder, head: Dict[str, Any]) -> None:
        deployment = str(head.get("deployment"))
        record = read_record(app.folder(OWN_FOLDER), CHANGES_NAME) or {}
        noted = record.get("noted") if record.get("deployment") == deployment else None
        self._app = app
        self._deployment = deployment
        self._noted: List[Dict[str, Any]] = noted if isinstance(noted, list) else []
        self._is_cut = self._noted is noted and record.get("cut") is True

    def note(self, step: str, *paths: str) -> None:
        """Write down what lies at these paths now; what the step has noted already stays.

        They are paths below the folder, or absolute ones of what lies elsewhere.
        """
        self._add([{"step": step, "path": path, "was": self._looks(path)} for path in self._new(step, paths)])

    def made(self, step: str, *paths: str) -> None:
        """Write down that these were made already, where nothing was."""
        self._add([{"step": step, "path": path, "was": None} for path in self._new(step, paths)])

    def told(self, step: str = "") -> Dict[str, Any]:
        """What this step has changed, or all of them together, as it is on the disk now; and whether there was more."""
        first: Dict[str, Dict[str, Any]] = {}
        for entry in self._noted:
            if step in ("", entry["step"]):
                first.setdefault(entry["path"], entry)
        changes = [change for change in map(self._change, first.values()) if change is not None]
        return {"changes": changes, **({"changes_cut": True} if self._is_cut else {})}

    def _new(self, step: str, paths: Any) -> List[str]:
        known = {entry["path"] for entry in self._noted if entry["step"] == step}
        return [path for path in paths if path not in known]

    def _add(self, entries: List[Dict[str, Any]]) -> None:
        if not entries:
            return
        kept = entries[: max(0, CHANGES_NOTED_MAX - len(self._noted))]
        if len(json.dumps([self._noted, kept])) > CHANGES_NOTED_CHARS_MAX:
            kept = []
        self._is_cut = self._is_cut or len(kept) < len(entries)
        self._noted += kept
        record = {"deployment": self._deployment, "noted": self._noted, "cut": self._is_cut}
        try:
            write_record(self._app.folder(OWN_FOLDER), CHANGES_NAME, record)
        except OSError as fault:  # a full disk keeps nobody from going back or making room
            if fault.errno not in NO_SPACE_ERRNOS:
                raise

    def _looks(self, path: str) -> Optional[Dict[str, Any]]:
        found = fingerprint_at(self._app.top, path or ".")
        if found is None:
            return None
        looks = {name: found[name] for name in (*LOOKS_NOTED, "mtime_ns")}
        whole = found["kind"] == "directory" and "/" in path  # what comes into the app's own folders is noted by itself
        return {**looks, "below": _entries_below(self._app.top, path) if whole else 0}

    def _change(self, entry: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """How a path differs from what was noted of it; None where it does not."""
        was, now = entry["was"], self._looks(entry["path"])
        found = now or was
        if found is None:
            return None
        op = "create" if was is None else "delete" if now is None else "modify"
        if was and now and all(was[name] == now[name] for name in ALIKE[now["kind"] == "file"]):
            return None
        path = os.path.join(self._app.real, entry["path"]).rstrip("/")
        return {**change_of(op, path, found, was), "below": 0 if op == "modify" else found["below"]}


def _entries_below(top: int, path: str) -> int:
    """How many entries lie below a folder, as far as this user can look."""
    count = 0
    with contextlib.suppress(LayerFault, OSError):
        for below, _, _, _ in walk_tree(top, path):
            count += 1 if below else 0
    return count
