"""A server that kills itself (SIGKILL) at a step: `killed_server.py FOLDER STEP begin|end [ask|staged|file|long]`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from home import open_home, staged_in
from interlock.settings import Settings
from interlock.trail import Step

WRITTEN = "new\n" * 200_000  # more than one request holds


async def main(folder: Path, step: str, moment: str, *, kind: str, settings: Settings | None) -> None:
    def on_step(at: Step, when: str) -> None:
        if (at.value, when) == (step, moment):
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_home(folder, settings=settings, on_step=on_step) as home:
        counter = str(folder / "sandbox" / "counter")
        if kind == "long":
            command = "echo x >> counter; sleep 3.3; echo y >> counter; echo done"
            await home.call("shell_run", command=command, writes=[counter], intent="Count for long")
            return
        if kind == "file":
            target = str(folder / "sandbox" / "conf")
            await home.call("file_write", path=target, content=WRITTEN, intent="Write it once")
            return
        if kind != "ask":
            await home.call("shell_run", command="echo x >> counter", writes=[counter], intent="Count once")
            return
        asked = await home.ask(name="counter", content=r"x\n")
        await home.app.approve(asked["result"]["approval_id"], True, "mira", "")
        await home.call("call_status", call_id=asked["call_id"], wait_seconds=20)


if __name__ == "__main__":
    where, more = Path(sys.argv[1]), sys.argv[4:]
    kind = more[0] if more else ""
    chosen = staged_in(where) if kind in ("staged", "file") else None
    asyncio.run(main(where, sys.argv[2], sys.argv[3], kind=kind, settings=chosen))
