"""The documents as text: whole pages, their fenced blocks, the rows of their tables. It judges nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from house import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One Markdown file, by its name relative to the house."""

    name: str

    @property
    def text(self) -> str:
        return (ROOT / self.name).read_text("utf-8")

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of this language ("" for those without one), in order."""
        return [body for found, body in _FENCE.findall(self.text) if found == language]

    def section(self, heading: str) -> str:
        """What stands below a heading, blocks without their content, up to the next one of its or a higher level."""
        text = _FENCE.sub("", self.text)
        level, _, rest = next(
            (marks, found, text[end:])
            for marks, found, end in ((m[1], m[2], m.end()) for m in re.finditer(r"^(#+) (.+)$", text, re.MULTILINE))
            if found == heading
        )
        return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]

    def rows(self) -> list[tuple[str, ...]]:
        """Every row of every table, its cells without blanks around them."""
        lines = [line for line in self.text.splitlines() if line.startswith("| ") and line.endswith(" |")]
        return [tuple(cell.strip() for cell in line[1:-1].split(" | ")) for line in lines]


README = Page("README.md")
CONTRACT = Page("docs/contract.md")
POLICIES = Page("docs/policies.md")
CONFIGURATION = Page("docs/configuration.md")
OPERATIONS = Page("docs/operations.md")
SECURITY = Page("docs/security.md")
PAGES = (README, CONTRACT, POLICIES, CONFIGURATION, OPERATIONS, SECURITY)


def commands(page: Page) -> list[tuple[str, bool]]:
    """Every `interlock …` command line of a page, and whether it is whole (a line of a block) or only mentioned."""
    fenced = [line for language in ("", "sh") for body in page.blocks(language) for line in body.splitlines()]
    mentioned = re.findall(r"`(interlock [^`\n]+)`", _FENCE.sub("", page.text))
    whole = [(line, True) for line in fenced if line.startswith("interlock ")]
    return whole + [(line, False) for line in mentioned]
