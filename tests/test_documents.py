"""Holds the documents to the house: what a user can set, run, read or be refused with is named in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import click
import pytest

from house import ROOT, files
from interlock.config import models
from interlock_tools.envelope import CODES, STATES

SECTIONS = sorted(models.Section.__subclasses__(), key=lambda kind: kind.__name__)


@cache
def documents() -> str:
    """README and everything below docs/, as one text."""
    places = {"docs", "README.md"}
    pages = [path for path in files() if path.suffix == ".md" and path.relative_to(ROOT).parts[0] in places]
    return "\n".join(path.read_text("utf-8") for path in pages)


def test_there_is_a_page_for_each_question_a_user_has() -> None:
    pages = {path.name for path in files() if path.parent == ROOT / "docs"}
    assert pages >= {"configuration.md", "policies.md", "contract.md", "security.md", "operations.md"}


@pytest.mark.parametrize("code", CODES)
def test_an_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in documents()


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_documented(state: str) -> None:
    assert f"`{state}`" in documents()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_of_a_section_of_the_configuration_is_documented(section: type[models.Section]) -> None:
    named = re.compile(r"`(?:\w+\.)*(\w+)`|^\s*#?\s*(\w+) = ", re.MULTILINE)
    words = {word for found in named.findall(documents()) for word in found}
    assert not [key for key in section.model_fields if key not in words]


def test_every_command_is_documented() -> None:
    from interlock.cli.root import cli

    assert not [command for command in _commands(cli, "interlock") if command not in documents()]


def _commands(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            sub = command.get_command(click.Context(command), name)
            if sub and not sub.hidden:
                yield from _commands(sub, f"{path} {name}")
    else:
        yield path


def test_every_annotation_of_a_shipped_rule_is_documented() -> None:
    rules = [path.read_text("utf-8") for path in files() if path.suffix == ".cedar" and "packs" in path.parts]
    annotations = {name for text in rules for name in re.findall(r"^\s*@(\w+)\(", text, re.MULTILINE)}
    assert annotations
    assert not [name for name in sorted(annotations) if not re.search(rf"`@{name}`|@{name}\(", documents())]


def test_every_relative_link_in_the_documents_leads_somewhere() -> None:
    pages = [path for path in files() if path.suffix == ".md"]
    links = [
        (path, target)
        for path in pages
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", path.read_text("utf-8"))
    ]
    assert not [(path.name, target) for path, target in links if not (path.parent / target).exists()]
