"""A blocking client of the runner for tests: a real shell or ssh starts the program, frames go both ways."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from interlock.hosts.program import program, runner_exec
from interlock.runner.frames import FrameReader, encode_frame

ANSWER_SECONDS = 20.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class RunnerChannel:
    """One helper at the other end of two pipes."""

    def __init__(self, argv: Sequence[str], marker: bytes, **popen: object) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **popen
        )
        self.events: dict[int, list[tuple[dict, bytes]]] = {}
        self.answers: dict[int, tuple[dict, bytes]] = {}
        self._numbers = count(1)
        self._frames = FrameReader()
        self._marker = marker
        self._noise = b""
        self.process.stdin.write(program().packed)

    def send(self, do: str, body: bytes = b"", **fields: object) -> int:
        """One request; its number."""
        number = next(self._numbers)
        self.events[number] = []
        self.process.stdin.write(encode_frame({"n": number, "do": do, **fields}, body))
        return number

    def wait(self, number: int, seconds: float = ANSWER_SECONDS) -> dict:
        """The answer; its body is under "body", all output that came for it under "stdout" and "stderr"."""
        until = time.monotonic() + seconds
        while number not in self.answers:
            self.receive(until - time.monotonic())
        head, body = self.answers.pop(number)
        streams = {1: bytearray(), 2: bytearray()}
        for event, data in self.events.pop(number):
            streams[event["stream"]] += data
        inline = head.get("out_inline", 0)
        streams[1] += body[:inline]
        streams[2] += body[inline:]
        return {**head, "body": body, "stdout": bytes(streams[1]), "stderr": bytes(streams[2])}

    def ask(self, do: str, body: bytes = b"", **fields: object) -> dict:
        return self.wait(self.send(do, body, **fields))

    def run(self, run: str, command: str, body: bytes = b"", **order: object) -> dict:
        """Start a run and wait for its end."""
        return self.wait(self.start(run, command, body, **order))

    def start(self, run: str, command: str, body: bytes = b"", **order: object) -> int:
        return self.send("start", body, **order_of(run, command, stdin=bool(body), **order))

    def receive(self, seconds: float) -> None:
        """Take in what comes within a time. Raises TimeoutError, EOFError."""
        output = self.process.stdout.fileno()
        if not select.select([output], [], [], max(0.0, seconds))[0]:
            raise TimeoutError(self.said())
        data = os.read(output, 1 << 20)
        if not data:
            raise EOFError(self.said())
        for head, body in self._frames.feed(self._after_marker(data)):
            if "event" in head:
                self.events[head["n"]].append((head, body))
            else:
                self.answers[head["n"]] = (head, body)

    def _after_marker(self, data: bytes) -> bytes:
        if not self._marker:
            return data
        self._noise += data
        start = self._noise.find(self._marker)
        end = self._noise.find(b"\n", start) if start >= 0 else -1
        if end < 0:
            return b""
        rest, self._marker = self._noise[end + 1 :], b""
        return rest

    def said(self) -> str:
        """What it wrote to its error stream."""
        found = b""
        while select.select([self.process.stderr], [], [], 0.05)[0]:
            data = os.read(self.process.stderr.fileno(), 65536)
            if not data:
                break
            found += data
        return found.decode("utf-8", "replace")

    def close(self) -> int:
        """Close its input and wait for its end: its exit status."""
        self.process.stdin.close()
        status = self.process.wait(ANSWER_SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def order_of(run: str, command: str, **order: object) -> dict:
    return {"run": run, "command": command, "environment": ENVIRONMENT, "timeout_seconds": 30.0, **order}


@contextmanager
def runner_channel(place: str, shell: str = "/bin/sh", faults: str = "", **popen: object) -> Iterator[RunnerChannel]:
    """A helper started by a real shell on this machine, with run directories in a place of the test's own."""
    environment = {"INTERLOCK_RUNNER_BASE": place, **({"INTERLOCK_RUNNER_FAULTS": faults} if faults else {})}
    line = runner_exec(environment=environment)
    channel = RunnerChannel([shell, "-c", line.line], line.marker, **popen)
    try:
        yield channel
    finally:
        channel.process.kill()
        channel.process.wait(ANSWER_SECONDS)
        for pipe in (channel.process.stdin, channel.process.stdout, channel.process.stderr):
            pipe.close()
