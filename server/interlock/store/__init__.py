"""The store: the durable record of one Interlock, owned by one process. It decides limits, never policy."""

from interlock.store.chain import Checkpoint
from interlock.store.faults import (
    CallNotRecorded,
    LayerMisplaced,
    StoreCorrupt,
    StoreFault,
    StoreNewer,
    StoreOwned,
    StoreUnavailable,
)
from interlock.store.opening import open_store
from interlock.store.operating import BreakerRow, StopRow
from interlock.store.reads import Ended
from interlock.store.store import SqliteStore
from interlock.store.verify import Verification, verify_directory

__all__ = [
    "BreakerRow",
    "CallNotRecorded",
    "Checkpoint",
    "Ended",
    "LayerMisplaced",
    "SqliteStore",
    "StopRow",
    "StoreCorrupt",
    "StoreFault",
    "StoreNewer",
    "StoreOwned",
    "StoreUnavailable",
    "Verification",
    "open_store",
    "verify_directory",
]
