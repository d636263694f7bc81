"""Asks a host's page from inside its network: once, or every few milliseconds until its stdin ends. It imports little.

    fleet_poller.py once FIRST PORT PATH TIMEOUT_SECONDS    the status (0: no answer), a line end, then the body
    fleet_poller.py poll FIRST PORT PATH EVERY_SECONDS      a JSON list a line: [time, status, first line of the body]

FIRST is a file with the number of the host's first process; it names another one once the host started again.
"""

import ctypes
import json
import os
import select
import socket
import sys
import time

PAGE_BYTES_MAX = 1024 * 1024
POLL_TIMEOUT_SECONDS = 2.0
CLONE_NEWNET = 0x40000000


class Host:
    """The host's network as it is now."""

    def __init__(self, first: str) -> None:
        self._file = first
        self._inside = ""

    def enter(self) -> None:
        """Go where its first process is. Raises OSError while it is down."""
        with open(self._file) as file:
            first = file.read()
        if first == self._inside:
            return
        place = os.open(f"/proc/{first}/ns/net", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(place, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "its network cannot be entered")
        finally:
            os.close(place)
        self._inside = first


def asked(host: Host, port: int, path: str, timeout_seconds: float) -> tuple[int, str]:
    """Status and body; status 0 and the reason where no whole answer came."""
    request = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    data = b""
    try:
        host.enter()
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds) as connection:
            connection.sendall(request.encode())
            while len(data) < PAGE_BYTES_MAX and (piece := connection.recv(65_536)):
                data += piece
    except OSError as fault:
        return 0, str(fault)
    head, found, body = data.partition(b"\r\n\r\n")
    words = head.split()
    if not found or len(words) < 2 or not words[1].isdigit():
        return 0, "the connection ended before an answer"
    return int(words[1]), body.decode("utf-8", "replace")


def main(how: str, first: str, port: int, path: str, seconds: float) -> None:
    host = Host(first)
    if how == "once":
        status, body = asked(host, port, path, seconds)
        sys.stdout.write(f"{status}\n{body}")
        return
    over = False
    while not over:
        began = time.time()
        status, body = asked(host, port, path, POLL_TIMEOUT_SECONDS)
        sys.stdout.write(json.dumps([began, status, body.partition("\n")[0]]) + "\n")
        sys.stdout.flush()
        over = bool(select.select([sys.stdin], [], [], max(0.0, began + seconds - time.time()))[0])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
