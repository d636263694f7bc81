"""Ending: a call's process tree on its host, found, ended and looked for again. It ends nothing that is not its."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from interlock.hosts.faults import Faulted, unreachable
from interlock.hosts.link import Link, Live
from interlock.hosts.quick import OUTPUT_BYTES_MAX, Said, ask
from interlock.hosts.wire import CALL_VARIABLE

GRACE_SECONDS = 2.0
KILL_SECONDS = 3.0
LOOK_SECONDS = 5.0

# $marker: the call's variable; $steps, $kill_steps: twentieths of a second. A process belongs to the call if it carries
# that variable, or descends from one that does. Zombies have ended.
_FIND = """
declare -A parent=() start=() mine=()
find_mine() {
  local path pid word line fields grew=1
  parent=(); start=()
  for path in /proc/[0-9]*; do
    pid=${path#/proc/}
    { read -r line <"$path/stat"; } 2>/dev/null || continue
    fields=(${line##*) })
    [[ ${fields[0]} == [ZX] || $pid == $$ ]] && continue
    parent[$pid]=${fields[1]}; start[$pid]=${fields[19]}
  done
  for pid in "${!mine[@]}"; do [[ ${start[$pid]-} == "${mine[$pid]}" ]] || unset "mine[$pid]"; done
  # First a coarse look at all, in which one process could feign another, then a close one: grep alone sees no further
  # than the first variable on some hosts.
  pid=
  while read -r word path _; do
    if [[ $word == "==>" ]]; then
      pid=${path#/proc/}; pid=${pid%/environ}
    elif [[ -n ${start[$pid]-} ]] && tr '\\000' '\\n' <"/proc/$pid/environ" | grep -qxF -e "$marker"; then
      mine[$pid]=${start[$pid]}
    fi
  done < <(
    tail -n +1 /proc/[0-9]*/environ | tr '\\000' '\\n' | grep -e '^==> /proc/[0-9]*/environ <==$' -e "^$marker$"
  ) 2>/dev/null
  while (( grew )); do
    grew=0
    for pid in "${!parent[@]}"; do
      if [[ -z ${mine[$pid]-} && -n ${mine[${parent[$pid]}]-} ]]; then mine[$pid]=${start[$pid]}; grew=1; fi
    done
  done
}
"""
_LOOK = _FIND + 'find_mine; echo "${#mine[@]} ${!mine[*]}"'
_END = (
    _FIND
    + """
declare -A seen=()
note() { local pid; for pid in "${!mine[@]}"; do seen[$pid]=1; done; }
find_mine; note
# What the call started through sudo is not ours to signal as the login user.
end() { kill "$1" "${@:2}" 2>/dev/null || sudo -n kill "$1" "${@:2}" 2>/dev/null; }
# All of them are stopped first: a parent whose child just died would otherwise go on with its next command.
(( ${#mine[@]} )) && end -STOP "${!mine[@]}" && { find_mine; note; end -STOP "${!mine[@]}"; }
(( ${#mine[@]} )) && { end -TERM "${!mine[@]}"; end -CONT "${!mine[@]}"; }
for (( n = 0; n < steps; n++ )); do
  find_mine; note
  (( ${#mine[@]} )) || break
  sleep 0.05
done
for (( n = 0; n < kill_steps; n++ )); do
  find_mine; note
  (( ${#mine[@]} )) || break
  end -STOP "${!mine[@]}"; end -KILL "${!mine[@]}"
  sleep 0.05
done
find_mine
echo "${#seen[@]} ${#mine[@]}"
"""
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How many processes of the call were found, and how many are still there."""

    found: int
    left: int

    @property
    def sentence(self) -> str:
        """What is known of the call's processes, for a reader."""
        if self.left:
            return f"{self.left} of its {self.found} processes could not be ended"
        if not self.found:
            return "none of its processes could be found on the host"
        ended = "processes were" if self.found > 1 else "process was"
        return f"its {self.found} {ended} ended; none that could be found is left on the host"


async def end_call(link: Link, call_id: str) -> Ended:
    """End every process of the call: TERM, grace, KILL, and look. Raises Faulted where the host cannot be asked."""
    steps = f"steps={int(GRACE_SECONDS * 20)}; kill_steps={int(KILL_SECONDS * 20)};"
    said = await _ask_anyhow(link, _names(call_id) + steps + _END, GRACE_SECONDS + KILL_SECONDS + LOOK_SECONDS)
    words = said.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise unreachable("the host did not say what became of the call's processes")
    return Ended(int(words[0]), int(words[1]))


async def ask_or_end(
    link: Link,
    live: Live,
    script: str,
    *,
    call_id: str,
    timeout_seconds: float,
    cwd: str = "/",
    environment: Mapping[str, str] | None = None,
    bytes_max: int = OUTPUT_BYTES_MAX,
) -> Said:
    """Like `ask`, for a script that may take long: whatever interrupts the wait, its processes do not go on alone."""
    try:
        return await ask(
            link,
            live,
            script,
            cwd=cwd,
            environment=environment,
            timeout_seconds=timeout_seconds,
            bytes_max=bytes_max,
            call_id=call_id,
        )
    except BaseException:
        await end_call(link, call_id)
        raise


async def look_for(link: Link, call_id: str) -> tuple[int, ...]:
    """The process ids that belong to the call now. Raises Faulted where the host cannot be asked."""
    said = await _ask_anyhow(link, _names(call_id) + _LOOK, LOOK_SECONDS)
    words = said.split()
    if not words or not all(word.isdigit() for word in words):
        raise unreachable("the host did not say whether the call still runs")
    return tuple(int(word) for word in words[1:])


def _names(call_id: str) -> str:
    return f"marker='{CALL_VARIABLE}={call_id}';\n"


async def _ask_anyhow(link: Link, script: str, timeout_seconds: float) -> str:
    """Ask over the connection there is; where that one is bad, once more over a new one."""
    for last in (False, True):
        live = await link.live()
        try:
            said = await ask(link, live, script, timeout_seconds=timeout_seconds)
        except Faulted:
            if last or not live.lost.is_set():
                raise
        else:
            return said.stdout
    raise unreachable("the host could not be asked")
