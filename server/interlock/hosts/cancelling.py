"""Cancellations that are answered: taken off the task, so that the answer can be given. It ends nothing by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from interlock.ports import LEFT

Result = TypeVar("Result")
UNNAMED = "its caller"


def taken(cancelled: asyncio.CancelledError) -> str:
    """Take a cancellation off the current task; who cancelled, as the task's `cancel` was told."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    return str(cancelled.args[0]) if cancelled.args and cancelled.args[0] else UNNAMED


class Interrupted(Exception):
    """What was seen through ended with a fault, and was cancelled meanwhile: both, for the caller to weigh."""

    def __init__(self, by: str, fault: Exception) -> None:
        super().__init__(by)
        self.by = by
        self.fault = fault


async def ended(task: asyncio.Task[Result], *leaving: str) -> None:
    """Return once the task has ended, whoever gives up waiting for it meanwhile.

    Who cancels with one of the words `leaving` only stops following it: it is left to go on, and that is raised.
    """
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as cancelled:
            if any(word in cancelled.args for word in leaving):
                task.cancel(LEFT)
                await asyncio.wait({task})
                raise
            taken(cancelled)


async def see_through(work: Awaitable[Result]) -> tuple[Result, str]:
    """The work's result whoever gives up waiting meanwhile, and who did ("" = nobody). The work bounds its own time.

    Raises what the work raises, or Interrupted where it was cancelled too.
    """
    task = asyncio.ensure_future(work)
    by = ""
    while True:
        try:
            return await asyncio.shield(task), by
        except asyncio.CancelledError as cancelled:
            if task.cancelled():
                raise
            who = taken(cancelled)
            by = by or who
        except Exception as fault:
            if by:
                raise Interrupted(by, fault) from None
            raise
