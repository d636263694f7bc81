"""The streams of one run as they come from its host: each byte spooled once, in order. It asks the host for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from interlock.ports import Progress
from interlock.settings import Limits
from interlock.spool import Spool, answer_texts
from interlock_tools.call import Json


class RunStreams:
    """Standard output and standard error of one call. `seen` is how many bytes of each came, kept or not."""

    def __init__(self, spool: Spool, call_id: str, limits: Limits) -> None:
        self._writers = (spool.writer(call_id, "stdout"), spool.writer(call_id, "stderr"))
        self._limits = limits
        self.seen = [0, 0]

    def take(self, which: int, offset: int, data: bytes) -> None:
        """Output from `offset` on: what was seen before is dropped, what the host did not keep is counted."""
        self.reach(which, offset)
        seen = self.seen[which]
        self._writers[which].write(data[seen - offset :])
        self.seen[which] = max(seen, offset + len(data))

    def reach(self, which: int, total: int) -> None:
        """The stream was at least so long."""
        if total > self.seen[which]:
            self._writers[which].skip(total - self.seen[which])
            self.seen[which] = total

    def close(self) -> None:
        """Write what was held back; nothing comes any more."""
        for writer in self._writers:
            writer.close()

    def head(self, which: int, chars_max: int) -> str:
        """The beginning of a stream, as it is kept."""
        return self._writers[which].head(chars_max)

    async def report(self, progress: Progress | None) -> None:
        """Tell how much there is from time to time, until it is cancelled."""
        seconds = 0.0
        while progress is not None:
            await asyncio.sleep(self._limits.progress_seconds)
            seconds += self._limits.progress_seconds
            try:
                await progress(f"running for {seconds:g} s", sum(writer.seen_bytes for writer in self._writers))
            except Exception:  # noqa: BLE001 - a listener that fails must not disturb the call
                return

    def result(self, exit_code: int | None) -> Mapping[str, Json]:
        """The result of a command, as the contract has it."""
        out, err = answer_texts(*self._writers, self._limits.answer_chars_max)
        return {
            "exit_code": exit_code,
            "stdout": out.text,
            "stderr": err.text,
            "truncated": out.is_cut or err.is_cut,
            "stdout_bytes": self._writers[0].seen_bytes,
            "stderr_bytes": self._writers[1].seen_bytes,
            "next_offset": out.next_offset,
        }
