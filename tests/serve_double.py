"""The publishing code over the double, as a program of its own.

`serve_double.py stdio PRINCIPAL PROTOCOL [REPORT]` or `serve_double.py http PORT [REPORT]` (loopback, no tokens,
everybody is alice). At its end it writes what the double saw to REPORT as JSON. It prints noise on purpose: none may
reach a client.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    gc.disable()  # loading builds some hundred thousand objects, none of them garbage
    import anyio

    from front_double import FrontDouble
    from interlock.ports import Progress, Request
    from interlock.publish.stdio import serve_stdio
    from interlock_tools.envelope import Envelope

    gc.freeze()
    gc.enable()

    class Noisy(FrontDouble):
        async def call(self, request: Request, progress: Progress | None = None) -> Envelope:
            print("printed noise", flush=True)  # noqa: T201 — on purpose
            os.write(1, b"raw noise\n")
            return await super().call(request, progress)

    front = Noisy()

    async def over_stdio() -> None:
        await serve_stdio(front, words[1], "legacy" if words[2] == "legacy" else "auto")
        print("late noise", flush=True)  # noqa: T201 — on purpose

    async def over_http() -> None:
        from interlock.publish.http import serve_http
        from interlock.settings import HttpSettings

        await serve_http(front, HttpSettings(port=int(words[1]), tokens=False), default_principal="alice")

    try:
        anyio.run(over_stdio if words[0] == "stdio" else over_http)
    finally:
        seen = {"cancelled": front.cancelled, "answers": front.answers, "calls": [r.tool for r in front.requests]}
        report = words[3:4] if words[0] == "stdio" else words[2:3]
        for path in report:
            Path(path).write_text(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1:])
