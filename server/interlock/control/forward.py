"""A second stdio server: it passes bytes between its client and the owner, and understands none of them.

It loads nothing but the standard library, so that a client which starts one more server waits for milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path

from interlock.control.address import connect
from interlock.control.faults import ControlFault, fault_from_json

CHUNK_BYTES = 64 * 1024
HELLO_BYTES_MAX = 16 * 1024
HELLO_SECONDS = 10.0


def find_owner(state_dir: Path, principal: str, protocol: str) -> socket.socket | None:
    """A connection to the living owner, ready to carry MCP for this principal ("" = its default); None without one.

    Raises ControlFault where the owner refuses.
    """
    connected = connect(state_dir, HELLO_SECONDS)
    if connected is None:
        return None
    try:
        hello = {"want": "mcp", "principal": principal, "protocol": protocol}
        connected.sendall(json.dumps(hello).encode() + b"\n")
        answer = _line(connected)
    except (OSError, ValueError):
        connected.close()
        raise ControlFault("OWNER_SILENT", "the owner of the store does not answer", "end it, and start anew") from None
    if not answer.get("ok"):
        connected.close()
        raise fault_from_json(answer.get("error"))
    connected.settimeout(None)
    return connected


def forward_stdio(connected: socket.socket, input_fd: int = 0, output_fd: int = 1) -> bool:
    """Pass bytes both ways until one side ends. True where our client ended it, False where the owner did."""
    ended = threading.Event()

    def from_client() -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(input_fd, CHUNK_BYTES):
                connected.sendall(chunk)
        ended.set()
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_WR)

    threading.Thread(target=from_client, daemon=True).start()
    with connected:
        try:
            while chunk := connected.recv(CHUNK_BYTES):
                _write(output_fd, chunk)
        except ConnectionError:
            return ended.is_set()
        except OSError:  # our client closed its end of the pipe
            return True
    return ended.is_set()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _line(connected: socket.socket) -> dict[str, object]:
    """One line, byte by byte: what follows it belongs to the client."""
    line = bytearray()
    while len(line) < HELLO_BYTES_MAX:
        byte = connected.recv(1)
        if not byte or byte == b"\n":
            break
        line += byte
    answer = json.loads(line)
    return answer if isinstance(answer, dict) else {}
