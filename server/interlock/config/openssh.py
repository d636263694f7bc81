"""Hosts from an OpenSSH client configuration, resolved as ssh does it: the first value wins. It never runs anything.

What would change where or as whom we connect and is not supported is a problem, not silence. `StrictHostKeyChecking`
has no say here: host keys are always strict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from interlock.config.drafts import HostDraft, Imported, selected
from interlock.config.faults import Problem
from interlock.config.sources import HOSTS_MAX, at_home
from interlock.config.sshlines import EVERY_HOST, Line, read_lines
from interlock.settings import SecretRef

Options = Mapping[str, Sequence[Line]]

_WILD = re.compile(r"[*?!]")
_TOKEN = re.compile(r"%[A-Za-z%]")
_DEFAULT_PORT = 22
_UNSUPPORTED = {
    "proxycommand": "give the host a ProxyJump",
    "hostkeyalias": "trust the key under the host's own name with 'interlock hosts trust'",
    "certificatefile": "use the ssh-agent, which holds certificates too",
    "pkcs11provider": "add the token's key to the ssh-agent",
    "bindaddress": "route it in the system",
    "bindinterface": "route it in the system",
    "addressfamily": "write the IP address as HostName",
}


def read_openssh(path: Path, patterns: Sequence[str]) -> Imported:
    """The hosts that `patterns` choose: every plain Host, and every plain pattern that a wildcard Host covers."""
    problems: list[Problem] = []
    lines = list(read_lines(path, problems))
    names = {name for line in lines if line.option == "host" for name in line.patterns if not _WILD.search(name)}
    names |= {name for name in patterns if not _WILD.search(name) and _covered(name, lines)}
    chosen = sorted(name for name in names if selected(name, patterns))
    if len(chosen) > HOSTS_MAX:
        problems.append(Problem(str(path), 0, "", f"more than {HOSTS_MAX} hosts", "narrow [inventory] hosts"))
        chosen = chosen[:HOSTS_MAX]
    reader = _Reader(lines, frozenset(chosen), problems)
    return Imported(tuple(reader.draft(name) for name in chosen), tuple(problems))


def _covered(name: str, lines: Sequence[Line]) -> bool:
    return any(line.option == "host" and line.patterns != EVERY_HOST and line.applies(name) for line in lines)


class _Reader:
    """Resolves names against all lines; `aliases` are the names that become hosts."""

    def __init__(self, lines: Sequence[Line], aliases: frozenset[str], problems: list[Problem]) -> None:
        self._lines = lines
        self._aliases = aliases
        self._problems = problems

    def draft(self, name: str) -> HostDraft:
        options = self._options(name)
        self._refuse_unsupported(name, options)
        place = options["host"][-1] if "host" in options else Line("", 0, "", "", ())
        address, port, user = self._target(name, options)
        tokens = {"%h": address, "%n": name, "%r": user or "", "%p": str(port or _DEFAULT_PORT)}
        return HostDraft(
            name=name,
            file=place.file,
            line=place.number,
            address=address,
            port=port,
            user=user,
            identities=self._identities(name, options, tokens),
            known_hosts=_known_hosts(options, tokens),
            jump=self._jump(options),
        )

    def _options(self, name: str) -> Options:
        found: dict[str, list[Line]] = {}
        for line in self._lines:
            if line.applies(name):
                found.setdefault(line.option, []).append(line)
        return found

    def _refuse_unsupported(self, name: str, options: Options) -> None:
        for option, hint in _UNSUPPORTED.items():
            for line in options.get(option, ()):
                if line.first.lower() not in ("none", "any"):
                    self._problems.append(line.problem(f"not supported; {name} would be reached another way", hint))

    def _target(self, name: str, options: Options) -> tuple[str, int | None, str | None]:
        """Address, port and login; a HostName may hold %h, the name that was given."""
        address = name
        if "hostname" in options:
            address = options["hostname"][0].first.replace("%h", name).replace("%%", "%")
        port = None
        if "port" in options:
            line = options["port"][0]
            port = _port(line.first)
            if port is None:
                self._problems.append(line.problem("not a port number", "1 to 65535"))
        return address, port, options["user"][0].first if "user" in options else None

    def _identities(self, name: str, options: Options, tokens: Mapping[str, str]) -> tuple[SecretRef, ...] | None:
        """The key files that are there; ssh too passes over missing ones, but where none is left that is a problem."""
        lines = options.get("identityfile", ())
        wanted = [_expanded(line.first, tokens) for line in lines if line.first.lower() != "none"]
        there = tuple(SecretRef("file", key) for key in wanted if Path(key).is_file())
        if wanted and not there:
            self._problems.append(lines[0].problem(f"no key file of {name} is there", "correct the path"))
        return there or None

    def _jump(self, options: Options) -> str | None:
        """The jump host as a name of the inventory; one that is not imported itself as user@address:port."""
        if "proxyjump" not in options:
            return None
        line = options["proxyjump"][0]
        jump = line.first.removeprefix("ssh://")
        if jump.lower() == "none":
            return None
        if "," in jump:
            hint = "give each host on the way its own ProxyJump and import them all"
            self._problems.append(line.problem("more than one jump host", hint))
            return None
        if jump in self._aliases or "@" in jump or ":" in jump:
            return jump
        own = self._options(jump)
        if "proxyjump" in own and own["proxyjump"][0].first.lower() != "none":
            self._problems.append(line.problem("the jump host has a jump host itself", "import the jump host too"))
        address, port, user = self._target(jump, own)
        return f"{user}@{address}:{port or _DEFAULT_PORT}" if user else f"{address}:{port or _DEFAULT_PORT}"


def _port(text: str) -> int | None:
    valid = text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65_535
    return int(text) if valid else None


def _known_hosts(options: Options, tokens: Mapping[str, str]) -> str | None:
    if "userknownhostsfile" not in options:
        return None
    first = _expanded(options["userknownhostsfile"][0].first, tokens)
    return None if first.lower() in ("none", "/dev/null") else first


def _expanded(text: str, tokens: Mapping[str, str]) -> str:
    """`~` and the percent tokens of ssh_config(5) that have a meaning here; any other stays as it is."""
    known = {**tokens, "%%": "%", "%d": str(Path.home())}
    expanded = _TOKEN.sub(lambda found: known.get(found.group(), found.group()), text)
    return str(at_home(expanded))
