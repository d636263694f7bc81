"""Holds the house to its sheet of style: sizes, names, direction, cleanliness. It reads files and runs nothing."""

from __future__ import annotations

import ast
import re
import statistics
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from house import ROOT, Module, files, modules

FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "base", "misc"}
FILE_LINES_TARGET = 250
FILE_LINES_MAX = 400
FUNCTION_LINES_TARGET = 40
FUNCTION_LINES_MAX = 70
LONGER_WITH_A_REASON = {
    "tools/interlock_tools/errors.py": "the one tree of refusals, to be read from one page",
    "tests/attempts.py": "a list of attempts, one a line, which only grows",
}
README_LINES_MAX = 150
VERBS_MAX = 8


@cache
def house() -> tuple[Module, ...]:
    return tuple(modules())


@cache
def shipped() -> tuple[Module, ...]:
    return tuple(modules("server", "policies", "tools"))


def test_every_module_opens_with_a_sentence() -> None:
    silent = [module.name for module in house() if not _opens_with_a_sentence(module)]
    assert not silent


def _opens_with_a_sentence(module: Module) -> bool:

    paragraph = (ast.get_docstring(module.tree) or "").split("\n\n")[0]
    return len(paragraph.split()) >= 3 and paragraph.rstrip().endswith((".", ":"))


def test_no_module_and_no_class_has_a_name_that_says_nothing() -> None:
    named = [module.name for module in house() if FORBIDDEN_NAMES & set(Path(module.name).with_suffix("").parts)]
    classes = re.compile(r"^class \w*(Manager|Helper|Utils|Base)\b", re.MULTILINE)
    assert not named + [module.name for module in shipped() if classes.search(module.text)]


def test_no_file_is_too_long_to_read() -> None:
    too_long = {module.name: module.lines for module in house() if module.lines > FILE_LINES_MAX}
    assert set(too_long) <= set(LONGER_WITH_A_REASON), too_long


def test_nine_files_of_ten_stay_within_the_target() -> None:
    long = {module.name: module.lines for module in shipped() if module.lines > FILE_LINES_TARGET}
    assert len(long) <= len(shipped()) / 10, long


def test_no_function_is_longer_than_a_screen() -> None:
    assert not [found for module in house() for found in module.functions if found[1] > FUNCTION_LINES_MAX]


def test_nineteen_functions_of_twenty_are_short() -> None:
    lengths = [length for module in shipped() for _, length in module.functions]
    assert statistics.quantiles(lengths, n=20)[-1] < FUNCTION_LINES_TARGET


LAYERS = ("interlock_tools", "interlock_policies", "interlock")
PURE_NEVER = {
    "asyncio", "socket", "subprocess", "time", "random", "secrets", "threading", "aiosqlite", "sqlite3", "asyncssh",
    "mcp", "anyio", "httpx", "urllib.request", "interlock.store",
}  # fmt: skip
WIRES = {"asyncssh", "aiosqlite", "sqlite3", "mcp", "starlette", "uvicorn"}
# Whose modules (a prefix) never import which (prefixes): DESIGN's list.
NEVER = {
    "interlock_tools": PURE_NEVER,
    "interlock_policies": PURE_NEVER,
    "interlock.pipeline": WIRES,
    "interlock.publish": {"interlock.store", "interlock.hosts", "asyncssh", "aiosqlite", "sqlite3"},
    "interlock.console": {"interlock.pipeline"},
    "interlock": set(),
}


def _is_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def test_imports_go_from_server_to_policies_to_tools_and_never_back() -> None:
    upward = [
        (module.name, imported)
        for module in shipped()
        for imported in module.imports
        for layer in LAYERS[LAYERS.index(module.dotted.split(".")[0]) + 1 :]
        if _is_in(imported, layer)
    ]
    assert not upward


@pytest.mark.parametrize("room", NEVER)
def test_a_room_never_imports_what_the_design_forbids_it(room: str) -> None:
    walls = [
        (module.name, imported)
        for module in shipped()
        if _is_in(module.dotted, room)
        for imported in module.imports
        if any(_is_in(imported, wall) for wall in NEVER[room])
    ]
    assert not walls


def test_nothing_imports_the_console() -> None:
    outside = [module for module in shipped() if not _is_in(module.dotted, "interlock.console")]
    composition = {"interlock.app", "interlock.cli"}  # whoever starts it
    guests = [module for module in outside if not any(_is_in(module.dotted, name) for name in composition)]
    assert not [m.name for m in guests if any(_is_in(name, "interlock.console") for name in m.imports)]


def test_the_three_packages_say_that_they_are_typed_and_exist_alone() -> None:
    for folder, package in (("server", "interlock"), ("policies", "interlock_policies"), ("tools", "interlock_tools")):
        tops = {path.relative_to(ROOT / folder).parts[0] for path in files() if path.is_relative_to(ROOT / folder)}
        assert tops == {package}
        assert (ROOT / folder / package / "py.typed").is_file()


UNFINISHED = re.compile(r"\b(TODO|FIXME|raise NotImplementedError)\b")
SILENCED = re.compile(r"#\s*(?:type:\s*ignore(?:\[[\w, -]+\])?|noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?)(?P<why>.*)$")


def test_nothing_shipped_is_unfinished() -> None:
    assert not [
        f"{module.name}:{number}"
        for module in shipped()
        for number, line in enumerate(module.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]


def test_whoever_silences_a_checker_says_why_beside_it() -> None:
    bare = []
    for module in house():
        for number, line in enumerate(module.text.splitlines(), 1):
            silenced = SILENCED.search(line)
            if silenced and len(silenced["why"].split()) < 3:
                bare.append(f"{module.name}:{number}")
    assert not bare


FOLDERS_OF_EVERY_MACHINE = {"/", "/app", "/src", "/srv", "/opt", "/tmp", "/home", "/usr", "/var", "/mnt", "/root"}
REGISTRIES = re.compile(
    r"(?:files\.)?pythonhosted\." + r"org|pypi\." + r"org/simple|registry\.(?:npmjs|yarnpkg)\." + r"\w+"
    r"|--(?:extra-)?index" + r"-url|--find" + r"-links"
)
TOOLCHAINS = re.compile(r"/\.pyenv/|/site-packages/\w|/tmp/tmp\w{8}\b|/Users/\w+/|/tmp/pytest" + r"-of-")


def test_no_file_names_this_machine_or_a_registry() -> None:
    here = {str(path) for path in (ROOT, ROOT.parent, Path.home()) if str(path) not in FOLDERS_OF_EVERY_MACHINE}
    machine = re.compile("|".join(rf"(?<![\w.*-]){re.escape(path)}/" for path in sorted(here)) or r"(?!)")
    found = []
    for path in files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(ROOT)}: {match[0]}"
            for pattern in (machine, REGISTRIES, TOOLCHAINS)
            if (match := pattern.search(text))
        ]
    assert not found


def test_the_readme_fits_on_two_screens() -> None:
    assert 5 < len((ROOT / "README.md").read_text("utf-8").splitlines()) < README_LINES_MAX


def test_the_makefile_has_at_most_eight_verbs_and_explains_each() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    verbs = text.split(".PHONY:")[1].splitlines()[0].split()
    assert len(verbs) <= VERBS_MAX
    assert verbs == re.findall(r"^([a-z]+):.*## \S", text, re.MULTILINE)


def test_every_pinned_dependency_has_a_hash_and_the_locks_agree() -> None:
    runtime, dev = _pins("requirements.lock"), _pins("requirements-dev.lock")
    assert runtime.items() <= dev.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert {_name(asked) for asked in project["project"]["dependencies"]} <= runtime.keys()
    extras = project["project"]["optional-dependencies"]
    assert {_name(asked) for asked in extras["dev"]} <= dev.keys()
    build = project["build-system"]["requires"] + project["dependency-groups"]["build"]
    assert {_name(asked) for asked in build} <= runtime.keys()


def _pins(lock: str) -> dict[str, str]:
    pins = {}
    for entry in (ROOT / lock).read_text("utf-8").replace("\\\n", " ").splitlines():
        if entry and not entry.startswith("#"):
            name, version = entry.split()[0].split("==")
            assert "--hash=sha256:" in entry, name
            pins[name] = version
    return pins


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_the_hook_and_the_pipeline_run_the_same_verbs() -> None:
    assert "entry: make lint" in (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    steps = (ROOT / ".ci" / "run").read_text("utf-8").strip().splitlines()
    assert any(step.startswith("make lint") for step in steps)
    assert steps[-1].startswith("make test")
    assert "INTERLOCK_TESTS_ALL=1" in "\n".join(steps)


def test_this_python_is_one_that_is_promised() -> None:
    assert sys.version_info >= (3, 11)
