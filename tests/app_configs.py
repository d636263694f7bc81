"""What the tests of configured apps share: hosts, a small app, and reading either the app or its one problem."""

from pathlib import Path

from configs import AGENT, only_problem, write
from interlock.config import load
from interlock_tools.apps import App

HOSTS = """
[hosts.web1]
address = "10.0.0.1"
groups = ["web"]
labels = {env = "prod"}
[hosts.web2]
address = "10.0.0.2"
groups = ["web"]
protected = ["/srv/vault/"]
[hosts.db1]
address = "10.0.0.3"
labels = {env = "prod"}
"""
SHOP = '[apps.shop]\nhosts = ["web1"]\npath = "/srv/shop"\n'
BEFORE = HOSTS + AGENT
LINES_BEFORE = BEFORE.count("\n")


def app(folder: Path, text: str, name: str = "shop") -> App:
    return load(write(folder, BEFORE + text)).apps[name]


def fault(folder: Path, text: str) -> tuple[int, str, str]:
    """The one problem of this text: its line there, its key, what it says."""
    problem = only_problem(folder, BEFORE + text)
    assert problem.file == str(folder / "interlock.toml")
    return problem.line - LINES_BEFORE, problem.key, f"{problem.message} ({problem.hint})"
