"""Diffs: what a deployment would change in the files of its hosts, as text for whoever decides. It shows no secret.

Of a file that holds a secret the lines that go are not shown: they may hold the secret that it had before, which nobody
here knows.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterator, Sequence

from interlock.deploy.rendering import RenderedSet, Sets
from interlock.ports import Hosts
from interlock_tools.apps import App
from interlock_tools.errors import Refusal
from interlock_tools.file_planning import named
from interlock_tools.found import ABSENT, FileTexts
from interlock_tools.rollout import FilePlan, Kind, Rollout

FILES_SHOWN_MAX = 40
LINES_SHOWN_MAX = 400
LINE_CHARS_MAX = 400
CONTEXT_LINES = 2


async def diff_of(
    hosts: Hosts, app: App, rollout: Rollout, sets: Sets, sees: Callable[[str, str], bool]
) -> tuple[str, ...]:
    """Each changed file once for all hosts on which it changes in the same way; lines, at most LINES_SHOWN_MAX.

    `sees`: whether whoever it is for may see what lies at a path of a host now.
    """
    alike: dict[tuple[str, str, str], list[tuple[str, FilePlan]]] = {}
    for plan in rollout.hosts:
        for file in plan.files:
            alike.setdefault((file.target, file.before, file.after), []).append((plan.host, file))
    shown = list(alike.values())[:FILES_SHOWN_MAX]
    asked: dict[str, list[str]] = {}
    for changes in shown:
        host, file = changes[0]
        asked.setdefault(host, []).append(file.real)
    release = rollout.release if rollout.kind is Kind.ROLLBACK else ""
    told = await asyncio.gather(*(hosts.file_texts(host, app.path, reals, release) for host, reals in asked.items()))
    texts = dict(zip(asked, told, strict=True))
    lines: list[str] = []
    for changes in shown:
        host, file = changes[0]
        lines += _file(file, [name for name, _ in changes])
        if file.before == ABSENT or sees(host, file.real):
            lines += _content(file, texts[host], sets.get(host))
        else:
            lines.append("  (not shown: what is there is a secret, or policy does not let you read it)")
    if len(alike) > len(shown):
        lines.append(f"… and {len(alike) - len(shown)} more files")
    if len(lines) > LINES_SHOWN_MAX:
        lines = [*lines[:LINES_SHOWN_MAX], f"… and {len(lines) - LINES_SHOWN_MAX} more lines"]
    return tuple(line[:LINE_CHARS_MAX] for line in lines)


def _file(file: FilePlan, names: Sequence[str]) -> list[str]:
    really = f" (really {file.real})" if file.real != file.target else ""
    return [f"{file.word} {file.target}{really} on {named(names)}"]


def _content(file: FilePlan, texts: FileTexts | Refusal, made: RenderedSet | None) -> Iterator[str]:
    if isinstance(texts, Refusal):
        yield f"  (its text could not be read: {texts.code})"
        return
    before = "" if file.before == ABSENT else texts.there.get(file.real)
    after = made.texts.get(file.target) if made is not None else texts.kept.get(file.target)
    after = "" if file.after == ABSENT else after
    if before is None or after is None:
        yield "  (not shown: it is no text, or too long)"
        return
    if made is None and file.secret:
        yield "  (not shown: it holds a secret)"  # what is kept on the host has it in the clear
        return
    if file.before == file.after:
        yield "  (its mode or owner changes)"
    for line in _unified(before, after):
        yield "  - (a line of a file that holds a secret)" if file.secret and line.startswith("-") else f"  {line}"


def _unified(before: str, after: str) -> Iterator[str]:
    found = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=CONTEXT_LINES)
    return (line for number, line in enumerate(found) if number > 1)  # the first two name the files
