"""What can go wrong with the store itself: I/O faults and bugs. Refusals of calls are values and never stand here.

    StoreFault
    ├── StoreOwned          another process owns it
    ├── StoreCorrupt        it is damaged, or was tampered with
    ├── StoreNewer          a newer Interlock wrote it
    ├── StoreUnavailable    it could not make this durable, or not be opened (disk full, I/O error, closed, not private)
    ├── CallNotRecorded     a bug: a call is settled that was never recorded
    └── LayerMisplaced      a bug: a layer is said to be where it cannot be

A class's docstring is its message: a template over its fields.
"""

from __future__ import annotations

import inspect


class StoreFault(Exception):
    """The store failed."""

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(" ".join((inspect.getdoc(type(self)) or "").split()).format(**fields))


class StoreOwned(StoreFault):
    """The store in {directory} is owned by the running process {pid}; go through its socket, or end it first."""

    def __init__(self, *, directory: str, pid: int) -> None:
        self.pid = pid
        super().__init__(directory=directory, pid=pid or "(unknown)")


class StoreCorrupt(StoreFault):
    """The store {path} cannot be trusted: {reason}. Nothing was changed; move it aside or restore a backup."""

    def __init__(self, *, path: str, reason: str) -> None:
        self.reason = reason
        super().__init__(path=path, reason=reason)


class StoreNewer(StoreFault):
    """The store {path} has schema version {found}; this Interlock knows up to {known}. Nothing was changed."""

    def __init__(self, *, path: str, found: int, known: int) -> None:
        self.found = found
        super().__init__(path=path, found=found, known=known)


class StoreUnavailable(StoreFault):
    """The store did not take this: {reason}."""

    def __init__(self, *, reason: str) -> None:
        self.reason = reason
        super().__init__(reason=reason)


class CallNotRecorded(StoreFault):
    """The call {call_id} was never recorded."""

    def __init__(self, *, call_id: str) -> None:
        super().__init__(call_id=call_id)


class LayerMisplaced(StoreFault):
    """The layer of the run {run_id} cannot go from {before} to {after}."""

    def __init__(self, *, run_id: str, before: str, after: str) -> None:
        super().__init__(run_id=run_id, before=before, after=after)
