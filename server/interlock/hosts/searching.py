"""Searching: the host's own grep over a file or a tree, bounded in matches, bytes and time. It changes nothing.

Within a tree it opens no file whose name is that of a secret; a secret that is named itself was decided on as such.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping

from interlock.hosts.ending import ask_or_end
from interlock.hosts.quick import Said
from interlock.hosts.secret_files import LEFT_OUT, is_secret
from interlock.hosts.secret_files import words as grep_words
from interlock.hosts.sftp import refuse
from interlock.hosts.site import Site
from interlock_policies.facts import HostFacts
from interlock_tools.call import Json
from interlock_tools.errors import ArgumentInvalid
from interlock_tools.plan import SearchFiles

LINE_CHARS_MAX = 500
OUTPUT_BYTES_MAX = 1024 * 1024
GREP_TROUBLE = 2
MARGIN_SECONDS = 10.0
_END = "\0"


async def search_files(site: Site, plan: SearchFiles) -> Mapping[str, Json]:
    """The `file_search` result: path, matches, truncated, unreadable, left_out. Raises Faulted.

    A match: path, line, text (cut at 500 characters), context (True for a line around a match). `unreadable` counts
    files and folders that this login may not read. `left_out` says which files were not searched, "" = all were.
    """
    real = await site.real(plan.path)
    await site.existing(real)
    said = await _grep(site, real, plan)
    if said.exit_code == GREP_TROUBLE and not said.stdout and plan.regex and _is_pattern_fault(said.stderr):
        reason = f"grep does not accept it: {' '.join(said.stderr.split())[:200]}"
        raise refuse(ArgumentInvalid(path="pattern", reason=reason))
    rows = [_row(site, line) for line in said.stdout.splitlines() if _END in line]
    is_named = is_secret(real, site.facts)
    if not is_named:
        rows = [row for row in rows if not is_secret(str(row["path"]), site.facts)]
    kept: list[dict[str, Json]] = []
    count = 0
    for row in rows:
        count += not row["context"]
        if count > plan.limit:
            break
        kept.append(row)
    return {
        "path": real,
        "matches": kept,
        "truncated": count > plan.limit or len(said.stdout) >= OUTPUT_BYTES_MAX,
        "unreadable": len(said.stderr.splitlines()),
        "left_out": "" if is_named else LEFT_OUT,
    }


def command_of(real: str, plan: SearchFiles, facts: HostFacts) -> str:
    """The command line: grep without following links, special files skipped, cut by head at what can be shown."""
    words = ["grep", "-rnIHZ", "-D", "skip", "-E" if plan.regex else "-F"]
    words += ["-i"] if plan.ignore_case else []
    if is_secret(real, facts):
        words += [f"--include={plan.glob}"] if plan.glob else []
    else:
        words += grep_words(plan.glob)
    words += ["-C", str(plan.context_lines)] if plan.context_lines else []
    words += ["-m", str(plan.limit + 1), "-e", plan.pattern, "--", real]
    lines_max = (plan.limit + 1) * (2 * plan.context_lines + 2)
    line = " ".join(shlex.quote(word) for word in words)
    # A line of a minified file is cut on the host, so that one match cannot fill the whole answer.
    cut = f"cut -b -{4_096 + 4 * LINE_CHARS_MAX}"
    return f"{line} | {cut} | head -n {lines_max}; exit ${{PIPESTATUS[0]}}"


async def _grep(site: Site, real: str, plan: SearchFiles) -> Said:
    async with site.link.gate.enter():
        return await ask_or_end(
            site.link,
            site.live,
            command_of(real, plan, site.facts),
            call_id=site.run.call_id,
            timeout_seconds=site.run.timeout_seconds + MARGIN_SECONDS,  # the operation's own limit comes first
            bytes_max=OUTPUT_BYTES_MAX,
        )


def _is_pattern_fault(words: str) -> bool:
    return any(word in words for word in ("nvalid", "nmatched", "railing", "egular expression"))


def _row(site: Site, line: str) -> dict[str, Json]:
    path, _, rest = line.partition(_END)
    digits = len(rest) - len(rest.lstrip("0123456789"))
    number, mark, text = rest[:digits], rest[digits : digits + 1], rest[digits + 1 :]
    return {
        "path": posixpath.normpath(path),
        "line": int(number) if number else 0,
        "text": site.redact(text[:LINE_CHARS_MAX]),
        "context": mark == "-",
    }
