"""The house as files and syntax trees, for the tests that hold its rules. It judges nothing."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"interlock": ROOT / "server", "interlock_policies": ROOT / "policies", "interlock_tools": ROOT / "tools"}
CODE_FOLDERS = ("server", "policies", "tools", "tests", "benchmarks", "examples")
BUILT = {"node_modules", "build", "dist", "__pycache__"}
OURS_WITH_A_DOT = {".ci", ".gitignore", ".pre-commit-config.yaml"}


@dataclass(frozen=True)
class Module:
    """One Python file."""

    path: Path

    @property
    def name(self) -> str:
        """Relative to the house."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def dotted(self) -> str:
        """Its import name, for a module of one of the three packages; else its path with dots."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        inside = parts[1:] if parts[0] in {"server", "policies", "tools"} else parts
        return ".".join(inside[:-1] if inside[-1] == "__init__" else inside)

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def functions(self) -> list[tuple[str, int]]:
        """Each function's name with its length in lines, from `def` to its last line."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        found = [node for node in ast.walk(self.tree) if isinstance(node, kinds)]
        return [(f"{self.name}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1) for node in found]

    @property
    def imports(self) -> set[str]:
        """Every module it imports, anywhere in it; `from a import b` counts as both a and a.b."""
        names: set[str] = set()
        package = self.dotted.split(".") if self.path.name == "__init__.py" else self.dotted.split(".")[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
        return names


def files() -> list[Path]:
    """Every file that is ours: tracked, or new and not ignored; without git, all but what is built."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout.decode()
        return sorted(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())
    hidden = {path.name for path in ROOT.iterdir() if path.name.startswith(".")} - OURS_WITH_A_DOT
    return sorted(
        path for path in ROOT.rglob("*") if path.is_file() and not (BUILT | hidden) & set(path.relative_to(ROOT).parts)
    )


def modules(*folders: str) -> list[Module]:
    """Every Python file below these folders of the house (all that hold code, where none is named)."""
    wanted = folders or CODE_FOLDERS
    return [Module(path) for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in wanted]
