"""Redirections: what they read and write, and what standard input is after them."""

from __future__ import annotations

from interlock_policies.shell.feeds import fetches
from interlock_policies.shell.run import Feed, Run, place_of
from interlock_policies.shell.syntax import Node, Redirect, Simple


def redirection(run: Run, node: Node, redirect: Redirect) -> None:
    """The effects of one redirection of a command."""
    word, operator = redirect.target, redirect.operator
    if word is None or operator == "<<<":
        return
    if operator in (">&", "<&"):
        text = word.literal
        if text is not None and (text.rstrip("-").isdigit() or text == "-"):
            return
        if text is None or operator == "<&":
            run.unclear("a redirection to a descriptor that is not literal")
            return
    if operator in ("<", "<>"):
        run.read(word)
    if operator != "<":
        run.write(word)
        place = place_of(word, run.state)
        if place is not None and isinstance(node, Simple) and fetches(node):
            run.findings.downloaded.add(place)


def redirected(redirects: tuple[Redirect, ...], feed: Feed) -> Feed:
    """What standard input is after these redirections."""
    for redirect in redirects:
        if redirect.descriptor not in ("", "0"):
            continue
        if redirect.operator in ("<<", "<<-"):
            feed = Feed(text=redirect.body)
        elif redirect.operator == "<<<":
            feed = Feed(text=redirect.target)
        elif redirect.operator in ("<", "<>"):
            feed = Feed(path=redirect.target)
    return feed
