"""Check scripts: for each kind of postcondition the bash that measures it on its host. It sends and judges nothing."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from interlock_tools.call import Check

UNMEASURED = 77  # the exit code by which our own scripts say that something is missing on the host
PAGE_BYTES_MAX = 1024 * 1024
_SERVICE = re.compile(r"[A-Za-z0-9_.@:\\-]{1,200}")
_PORT = re.compile(r"(?:(?P<address>[^\s:]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]{1,5})")

# Runs `attempt` until it succeeds or the wait is over; says what it said last.
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
    says: bool = False  # whether what the script printed belongs into the detail
    theirs: bool = False  # whether it is the caller's own command, which finds programs where their commands do
    patient: bool = False  # whether the script defines `attempt`, which may be made again for a while

    def text(self, wait_seconds: float) -> str:
        """The whole script; what takes time to come up is waited for this long, and tried once where it is 0."""
        return self.script + (_PATIENTLY.format(seconds=math.ceil(wait_seconds)) if self.patient else "")


def probe_of(check: Check) -> Probe | str:
    """How a check is measured, or why it cannot be."""
    build = _PROBES.get(check.check)
    if build is None:
        return f"there is no check {check.check}"
    return build(check)


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────────────────

# Who knows the service is asked, in the order in which the runner controls it; a manager that does not run knows none.
# From "/", because supervisorctl would take a supervisord.conf of the folder that it is started in.
_ASK_SERVICE = f"""
cd / || exit {UNMEASURED}
attempt() {{
  local plain=${{name%.service}} folder said known=''
  if [ -d /run/systemd/system ] && type -P systemctl >/dev/null; then systemctl is-active -- "$name"; return; fi
  for folder in /etc/service /var/service /etc/sv; do
    type -P sv >/dev/null && [ -d "$folder/$plain" ] || continue
    said=$(sv status "$folder/$plain" 2>&1); echo "$said"
    [[ $said == run:* ]]; return
  done
  if type -P supervisorctl >/dev/null; then
    said=$(supervisorctl status "$plain" 2>&1)
    while read -r _ state _; do
      case $state in
        RUNNING) [ "$known" = down ] || known=up ;;
        STARTING | BACKOFF | STOPPING | STOPPED | EXITED | FATAL | UNKNOWN) known=down ;;
      esac
    done < <(echo "$said")
    if [ -n "$known" ]; then echo "$said"; [ "$known" = up ]; return; fi
  fi
  if [ -f "/etc/init.d/$plain" ] && [ -x "/etc/init.d/$plain" ]; then "/etc/init.d/$plain" status; return; fi
  echo "systemd does not run there, and neither runit, supervisor nor /etc/init.d knows $plain"
  return {UNMEASURED}
}}
"""


def _service_active(check: Check) -> Probe | str:
    if not _SERVICE.fullmatch(check.target) or check.target.startswith("-"):
        return "that is no service's name"
    script = f"name={shlex.quote(check.target)}\n{_ASK_SERVICE}"
    return Probe(script, "it is active", "it is not active", says=True, patient=True)


# ── ports and pages ──────────────────────────────────────────────────────────────────────────────────────────────────


def _port_open(check: Check) -> Probe | str:
    found = _PORT.fullmatch(check.target.strip())
    if found is None or not 0 < int(found["port"]) < 65_536:
        return "a port, or address:port, is expected"
    address = (found["address"] or "127.0.0.1").strip("[]")
    place = shlex.quote(f"/dev/tcp/{address}/{found['port']}")
    script = f'attempt() {{ timeout 3 "$BASH" --noprofile --norc -c \'exec 3<>"$1"\' bash {place}; }}\n'
    return Probe(script, "it accepts connections", "nothing accepts there", patient=True)


# `want`: "" = any 2xx, three digits = that status, anything else = a text that the page has to hold.
_FETCH = f"""
page() {{
  if type -P curl >/dev/null; then curl -sS -m 4 -w '\\n%{{http_code}}' -- "$url" | tail -c {PAGE_BYTES_MAX}
  elif type -P wget >/dev/null; then
    wget -q -T 4 -t 1 -O - -S -- "$url" 2>&1 | {{ text=$(head -c {PAGE_BYTES_MAX}); echo "$text"; code_of "$text"; }}
  else by_hand; fi
}}
code_of() {{ [[ $1 =~ HTTP/[0-9.]+\\ ([0-9]{{3}}) ]] && echo "${{BASH_REMATCH[1]}}"; }}
by_hand() {{
  local text
  [ -n "$place" ] || {{ echo 'there is neither curl nor wget'; return {UNMEASURED}; }}
  text=$(timeout 4 "$BASH" --noprofile --norc -c \\
    'exec 3<>"$1" && printf "GET %s HTTP/1.0\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n" "$2" "$3" >&3 &&
      head -c {PAGE_BYTES_MAX} <&3' bash "$place" "$path" "$server" | tr -d '\\000')
  echo "${{text#*$'\\r\\n\\r\\n'}}"
  [[ $text == HTTP/* ]] && code_of "${{text%%$'\\r'*}}"
}}
attempt() {{
  local text status code=0
  text=$(page) || code=$?
  (( code == {UNMEASURED} )) && {{ echo "$text"; return {UNMEASURED}; }}
  status=${{text##*$'\\n'}}
  [[ $status =~ ^[0-9]{{3}}$ ]] || {{ echo "no answer: ${{text:0:120}}"; return 1; }}
  echo "status $status"
  if [[ $want =~ ^[0-9]{{3}}$ ]]; then [ "$status" = "$want" ]; return; fi
  [[ $status == 2?? && ( -z $want || $text == *"$want"* ) ]]
}}
"""


def _http_ok(check: Check) -> Probe | str:
    parts = urlsplit(check.target)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "an http or https URL is expected"
    words = {"url": check.target, "want": check.expected.strip(), "place": _tcp_place(parts)}
    words["path"] = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (
        "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?") if parts.query else ""
    )
    words["server"] = quote(parts.netloc, safe="[]:.")
    script = "".join(f"{name}={shlex.quote(value)}\n" for name, value in words.items())
    return Probe(script + _FETCH, "it answered", "it did not answer so", says=True, patient=True)


def _tcp_place(parts: SplitResult) -> str:
    """Where bash itself can ask for a page, without TLS and without a login; "" where it cannot."""
    try:
        port = parts.port or 80
    except ValueError:
        return ""
    return "" if parts.scheme != "http" or "@" in parts.netloc else f"/dev/tcp/{parts.hostname}/{port}"


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _command_ok(check: Check) -> Probe:
    # Its output belongs into the detail only where it failed, or where a text was expected in it.
    if not check.expected:
        return Probe(f"eval {shlex.quote(check.target)}", "it ended with exit code 0", "it failed", theirs=True)
    script = (
        f'said=$(eval {shlex.quote(check.target)}) || {{ echo "$said"; exit 1; }}\n'
        f'[[ "$said" == *{shlex.quote(check.expected)}* ]] || {{ echo "$said"; exit 1; }}'
    )
    return Probe(script, "it said what was expected", "it did not say what was expected", theirs=True)


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
