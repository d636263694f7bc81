"""Waiting for what tells nobody: a host's processes and ports, looked at again and again up to a limit."""

import time
from collections.abc import Callable

START_SECONDS = 20.0


def wait_for(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until it holds: a host's processes and ports tell nobody."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} was waited for {seconds:.0f} seconds")
        time.sleep(0.01)  # nobody tells when it holds
