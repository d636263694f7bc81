"""Progress: what the house reports of a running call, passed on to a client that asked for it. It stores nothing."""

from __future__ import annotations

import anyio

from interlock.ports import Progress
from interlock.publish.callers import Context


def progress_of(ctx: Context) -> Progress | None:
    """A callback that passes progress on, where the client gave a token for it."""
    if ctx.meta is None or "progress_token" not in ctx.meta:
        return None
    ticks = 0

    async def report(sentence: str, output_bytes: int) -> None:
        nonlocal ticks
        ticks += 1
        try:
            await ctx.session.report_progress(float(ticks), message=f"{sentence} ({output_bytes} bytes of output)")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # nobody listens any more; the call itself is ended by its cancellation, not by this

    return report
