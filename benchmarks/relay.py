"""A relay on loopback that hands every byte on after a fixed time, as a road of that length does. It reads nothing."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from benchmarks.harness import ROOT, Ground, end, free_port, wait_until_it_listens

CHUNK_BYTES = 64 * 1024


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Each chunk leaves a fixed time after it came, however many are on the way."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(CHUNK_BYTES):
        loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


async def relayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, seconds: float) -> None:
    """One connection to its end, both ways."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(hand_on(reader, inner_writer, seconds), hand_on(inner_reader, writer, seconds))


async def serve(listen: int, port: int, round_trip_ms: float) -> None:
    """Relay until it is ended."""
    take = partial(relayed, port=port, seconds=round_trip_ms / 2_000)
    server = await asyncio.start_server(take, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


@contextmanager
def far_ground(here: Ground, round_trip_ms: float) -> Iterator[Ground]:
    """The same OpenSSH server at the end of a road that adds this to every round trip."""
    far = replace(here, port=free_port())
    host_key = here.known_hosts.read_text().splitlines()[0].partition(" ")[2]
    with here.known_hosts.open("a") as vouched:
        vouched.write(f"\n[127.0.0.1]:{far.port} {host_key}\n")
    log = here.folder / "relay.log"
    options = ["--listen", str(far.port), "--port", str(here.port), "--round-trip-ms", str(round_trip_ms)]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.relay", *options], cwd=ROOT, stderr=output)
    try:
        wait_until_it_listens(far.port, process, log)
        yield far
    finally:
        end(process)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--round-trip-ms", type=float, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.listen, given.port, given.round_trip_ms))
