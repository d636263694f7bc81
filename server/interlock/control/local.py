"""A command that is the owner for a moment, because nobody else is: it opens the whole house and closes it again."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from interlock.admin import Admin
from interlock.app import open_app
from interlock.control.address import login_name
from interlock.control.faults import ControlFault
from interlock.settings import Settings


class LocalCaller:
    """Carries out operations in this process. `open` raises StoreOwned where another process owns the store."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._admin: Admin | None = None

    async def open(self) -> None:
        """Become the owner."""
        app = await self._stack.enter_async_context(open_app(self._settings))
        self._admin = Admin(app, lingers=False)

    async def call(self, method: str, **params: Any) -> Any:
        """Carry it out; a JSON value. Raises ControlFault."""
        if self._admin is None:
            raise ControlFault("INTERNAL", "the store is not open")
        return await self._admin.call(method, params, f"local:{login_name()}")

    async def close(self) -> None:
        """Give the store up."""
        await self._stack.aclose()
