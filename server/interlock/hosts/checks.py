"""Postconditions, measured on the host itself with bounded waits. What cannot be measured did not pass."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from interlock.hosts.ending import ask_or_end
from interlock.hosts.environment import Surroundings
from interlock.hosts.faults import Faulted
from interlock.hosts.link import Link, Live
from interlock.hosts.quick import Said
from interlock_tools.call import Check
from interlock_tools.envelope import Verified

CHECKS_MAX = 50
CHECK_SECONDS = 15.0
WAIT_SECONDS = 5  # how long a service, a port or a page may take to come up
COMMAND_SECONDS = 60.0
DETAIL_CHARS_MAX = 200
UNMEASURED = 77  # the exit code by which our own scripts say that something is missing on the host
_SERVICE = re.compile(r"[A-Za-z0-9_.@:\\-]{1,200}")
_PORT = re.compile(r"(?:(?P<address>[^\s:]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]{1,5})")

# Runs `try` until it succeeds or the wait is over; says what it said last.
_PATIENTLY = """
until=$((SECONDS + {seconds})); code=1
while :; do
  said=$(attempt 2>&1); code=$?
  (( code == 0 || code == 77 || SECONDS >= until )) && break
  sleep 0.25
done
echo "$said"; exit "$code"
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """How one kind of check is measured: a script whose exit code 0 means that it holds, and words for both ends."""

    script: str
    passed: str
    failed: str
    seconds: float = CHECK_SECONDS
    says: bool = False  # whether what the script printed belongs into the detail
    theirs: bool = False  # whether it is the caller's own command, which finds programs where their commands do


async def measure(
    link: Link,
    live: Live,
    around: Surroundings,
    checks: Sequence[Check],
    exit_code: int | None,
    redact: Callable[[str], str],
) -> tuple[Verified, ...]:
    """Every check in order. A fault of the road makes that check and all after it unmeasured, never passed."""
    found: list[Verified] = []
    for check in checks[:CHECKS_MAX]:
        if check.check == "exit_code":
            found.append(_exit_code(check, exit_code))
            continue
        probe = probe_of(check)
        if isinstance(probe, str):
            found.append(Verified(check.check, check.target, passed=False, detail=f"it cannot be measured: {probe}"))
            continue
        found.append(await _measured(link, live, around, check, probe, redact))
    found += [
        Verified(check.check, check.target, passed=False, detail=f"only {CHECKS_MAX} checks are measured")
        for check in checks[CHECKS_MAX:]
    ]
    return tuple(found)


def _exit_code(check: Check, exit_code: int | None) -> Verified:
    wanted = check.expected or "0"
    if exit_code is None:
        return Verified(check.check, check.target, passed=False, detail="the exit code is not known")
    passed = wanted.strip() == str(exit_code)
    return Verified(check.check, check.target, passed, f"exit code {exit_code}, expected {wanted}")


async def _measured(
    link: Link, live: Live, around: Surroundings, check: Check, probe: Probe, redact: Callable[[str], str]
) -> Verified:
    environment = {"HOME": around.home} | ({"PATH": link.host.path} if probe.theirs else {})
    try:
        said = await ask_or_end(
            link,
            live,
            probe.script,
            call_id=f"check-{secrets.token_hex(8)}",
            cwd=around.cwd,
            environment=environment,
            timeout_seconds=probe.seconds,
        )
    except Faulted as fault:
        detail = f"it could not be measured: {fault.refusal.reason}"
        return Verified(check.check, check.target, passed=False, detail=detail)
    return Verified(check.check, check.target, said.exit_code == 0, redact(_detail(said, probe)))


def _detail(said: Said, probe: Probe) -> str:
    words = " ".join((said.stdout + " " + said.stderr).split())[:DETAIL_CHARS_MAX]
    if said.exit_code == UNMEASURED:
        return f"it cannot be measured on this host: {words}"
    text = probe.passed if said.exit_code == 0 else probe.failed
    return f"{text}: {words}" if words and (probe.says or said.exit_code) else text


def probe_of(check: Check) -> Probe | str:
    """How a check is measured, or why it cannot be."""
    build = _PROBES.get(check.check)
    if build is None:
        return f"there is no check {check.check}"
    return build(check)


# ── one builder a kind ───────────────────────────────────────────────────────────────────────────────────────────────


def _path_exists(check: Check) -> Probe:
    path = shlex.quote(check.target)
    return Probe(f"[ -e {path} ] || [ -L {path} ]", "it is there", "it is not there")


def _path_absent(check: Check) -> Probe:
    path, folder = shlex.quote(check.target), shlex.quote(check.target.rstrip("/").rpartition("/")[0] or "/")
    # Where the folder may not be searched, nothing can be said about what is in it.
    script = (
        f"[ -e {path} ] || [ -L {path} ] && exit 1\n"
        f"if [ -d {folder} ] && [ ! -x {folder} ]; then echo 'its folder may not be searched'; exit {UNMEASURED}; fi"
    )
    return Probe(script, "it is not there", "it is there")


def _path_contains(check: Check) -> Probe:
    script = (
        f"[ -r {shlex.quote(check.target)} ] || {{ echo 'it cannot be read'; exit 1; }}\n"
        f"want={shlex.quote(check.expected)}\n"
        "case $want in *$'\\n'*) [[ \"$(head -c 8388608 -- " + shlex.quote(check.target) + ')" == *"$want"* ]];;\n'
        f'*) grep -qF -e "$want" -- {shlex.quote(check.target)};; esac'
    )
    return Probe(script, "the text is in it", "the text is not in it")


def _path_sha256(check: Check) -> Probe:
    path = shlex.quote(check.target)
    script = (
        f"type -P sha256sum >/dev/null || {{ echo 'there is no sha256sum'; exit {UNMEASURED}; }}\n"
        f'sum=$(sha256sum -- {path}) || exit 1; sum=${{sum#\\\\}}; sum=${{sum%% *}}; echo "$sum"\n'
        f'[ "$sum" = {shlex.quote(check.expected.strip().lower())} ]'
    )
    return Probe(script, "the hash is the expected one", "the hash differs", says=True)


def _service_active(check: Check) -> Probe | str:
    if not _SERVICE.fullmatch(check.target) or check.target.startswith("-"):
        return "that is no service's name"
    script = (
        f"type -P systemctl >/dev/null || {{ echo 'there is no systemctl'; exit {UNMEASURED}; }}\n"
        f"[ -d /run/systemd/system ] || {{ echo 'systemd does not run there'; exit {UNMEASURED}; }}\n"
        f"attempt() {{ systemctl is-active -- {shlex.quote(check.target)}; }}\n"
    )
    return Probe(script + _PATIENTLY.format(seconds=WAIT_SECONDS), "it is active", "it is not active", says=True)


def _port_open(check: Check) -> Probe | str:
    found = _PORT.fullmatch(check.target.strip())
    if found is None or not 0 < int(found["port"]) < 65_536:
        return "a port, or address:port, is expected"
    address = (found["address"] or "127.0.0.1").strip("[]")
    place = shlex.quote(f"/dev/tcp/{address}/{found['port']}")
    script = f'attempt() {{ timeout 3 "$BASH" --noprofile --norc -c \'exec 3<>"$1"\' bash {place}; }}\n'
    return Probe(script + _PATIENTLY.format(seconds=WAIT_SECONDS), "it accepts connections", "nothing accepts there")


def _http_ok(check: Check) -> Probe | str:
    parts = urlsplit(check.target)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "an http or https URL is expected"
    url, want = shlex.quote(check.target), shlex.quote(check.expected.strip())
    script = (
        f"url={url}; want={want}; type -P curl >/dev/null || type -P wget >/dev/null || "
        f"{{ echo 'there is neither curl nor wget'; exit {UNMEASURED}; }}\n" + _FETCH
    )
    return Probe(script + _PATIENTLY.format(seconds=WAIT_SECONDS), "it answered", "it did not answer so", says=True)


# `want`: "" = any 2xx, three digits = that status, anything else = a text that the page has to hold.
_FETCH = """
page() {
  if type -P curl >/dev/null; then curl -sS -m 4 -w '\\n%{http_code}' -- "$url" | tail -c 1048576
  else wget -q -T 4 -t 1 -O - -S -- "$url" 2>&1 | { text=$(head -c 1048576); echo "$text"
    [[ $text =~ HTTP/[0-9.]+\\ ([0-9]{3}) ]] && echo "${BASH_REMATCH[1]}"; }; fi
}
attempt() {
  local text status
  text=$(page) || true; status=${text##*$'\\n'}
  [[ $status =~ ^[0-9]{3}$ ]] || { echo "no answer: ${text:0:120}"; return 1; }
  echo "status $status"
  if [[ $want =~ ^[0-9]{3}$ ]]; then [ "$status" = "$want" ]; return; fi
  [[ $status == 2?? && ( -z $want || $text == *"$want"* ) ]]
}
"""


def _command_ok(check: Check) -> Probe:
    # Its output belongs into the detail only where it failed, or where a text was expected in it.
    if not check.expected:
        return Probe(
            f"eval {shlex.quote(check.target)}", "it ended with exit code 0", "it failed", COMMAND_SECONDS, theirs=True
        )
    script = (
        f'said=$(eval {shlex.quote(check.target)}) || {{ echo "$said"; exit 1; }}\n'
        f'[[ "$said" == *{shlex.quote(check.expected)}* ]] || {{ echo "$said"; exit 1; }}'
    )
    passed, failed = "it said what was expected", "it did not say what was expected"
    return Probe(script, passed, failed, COMMAND_SECONDS, theirs=True)


_PROBES: dict[str, Callable[[Check], Probe | str]] = {
    "path_exists": _path_exists,
    "path_absent": _path_absent,
    "path_contains": _path_contains,
    "path_sha256": _path_sha256,
    "service_active": _service_active,
    "port_open": _port_open,
    "http_ok": _http_ok,
    "command_ok": _command_ok,
}
