"""Orders: what a start may ask for, checked field by field before anything is claimed. It carries nothing out."""

import os
from typing import Any, Dict

from interlock.runner.rundirs import RUN_ID, RunFault

ORDER_LEVELS = ("none", "confined", "staged")
ORDER_NETWORKS = ("none", "outbound")
ORDER_PATH_LISTS = ("writes", "deletes", "workspace", "watched", "shown", "protected")
ORDER_WORD_LISTS = ("services", "masked")
ORDER_ITEMS_MAX = 4096
ORDER_PATHS_MAX = 512
# Each number's default and its bounds.
ORDER_NUMBERS = {
    "fence": (0, 0, 2**53),
    "timeout_seconds": (60.0, 0.001, 7 * 86400.0),
    "spool_bytes_max": (16 * 2**20, 0, 2**30),
    "changes_max": (5000, 1, 100000),
    "image_bytes_max": (256 * 2**20, 0, 2**40),
}


def checked_order(given: Any) -> Dict[str, Any]:
    """The order with every field there. Raises RunFault("bad_request")."""
    if not isinstance(given, dict):
        raise RunFault("bad_request", "an order is an object")
    order = {
        "run": given.get("run"), "argv": given.get("argv"), "command": given.get("command", ""),
        "shell": given.get("shell", "/bin/bash"), "cwd": given.get("cwd", "/"), "stdin": bool(given.get("stdin")),
        "environment": given.get("environment", {}), "level": given.get("level", "none"),
        "network": given.get("network", "outbound"),
    }  # fmt: skip
    for name, (default, least, most) in ORDER_NUMBERS.items():
        order[name] = _order_number(name, given.get(name, default), least, most)
    for name in (*ORDER_PATH_LISTS, *ORDER_WORD_LISTS):
        order[name] = given.get(name, [])
        _expect(_is_words(order[name]), name)
        _expect(name not in ORDER_PATH_LISTS or all(map(os.path.isabs, order[name])), name)
    order["paths"] = given.get("paths", [])
    _expect(_is_paths(order["paths"]), "paths")
    _expect(isinstance(order["run"], str) and RUN_ID.fullmatch(order["run"]) is not None, "run")
    _expect(order["argv"] is None or (_is_words(order["argv"]) and bool(order["argv"])), "argv")
    _expect(_is_words([order["command"], order["shell"], order["cwd"]]), "command, shell or cwd")
    _expect(os.path.isabs(order["cwd"]) and os.path.isabs(order["shell"]), "cwd or shell")
    _expect(order["level"] in ORDER_LEVELS and order["network"] in ORDER_NETWORKS, "level or network")
    environment = order["environment"]
    _expect(isinstance(environment, dict) and _is_words(list(environment) + list(environment.values())), "environment")
    _expect(not any(not name or "=" in name for name in environment), "environment")
    return order


def _expect(holds: bool, name: str) -> None:
    if not holds:
        raise RunFault("bad_request", "the order's %s is not what it has to be" % name)


def _is_words(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > ORDER_ITEMS_MAX:
        return False
    return all(isinstance(word, str) and "\0" not in word for word in value)


def _is_paths(value: Any) -> bool:
    """[as it is written, whether its last part is followed, where it led when that was decided] of each."""
    if not isinstance(value, list) or len(value) > ORDER_PATHS_MAX:
        return False
    return all(
        isinstance(one, list) and len(one) == 3 and isinstance(one[1], bool)
        and _is_words([one[0], one[2]]) and os.path.isabs(one[0])
        for one in value
    )  # fmt: skip


def _order_number(name: str, value: Any, least: float, most: float) -> Any:
    _expect(isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most, name)
    return value
