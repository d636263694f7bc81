"""Levels: how strongly a call is to be contained, and what a decision demands of that. It contains nothing itself."""

from __future__ import annotations

from interlock_policies.facts import Decision, HostFacts, Level
from interlock_policies.obligations import containment_reachable
from interlock_policies.obligations import demanded as demanded_by
from interlock_policies.places import words
from interlock_policies.scope import is_sink
from interlock_tools.call import Call, Mode
from interlock_tools.effects import EffectKind, Effects
from interlock_tools.tool import Tool

# Their effect on "the system" is one on files of a repository: a layer holds it.
_WITHIN_FILES = frozenset({"git"})
# They look at processes, sockets and service managers of the host. From inside there are none of those to be seen, and
# an answer about the inside would be a wrong answer about the host.
_LOOKING_AROUND = words(
    "ps top htop atop pgrep pidof pstree pmap lsof fuser ss netstat ip ifconfig route arp iptables nft systemctl"
    " service loginctl busctl hostnamectl timedatectl resolvectl networkctl journalctl docker podman nerdctl crictl"
    " docker-compose who w users last uptime dmesg vmstat iostat mpstat pidstat sar nvidia-smi supervisorctl rc-status"
)


def choose_level(tool: Tool, call: Call, effects: Effects, facts: HostFacts, most: Level) -> Level:
    """The level at which this call is to be tried; `most` is the strongest that may be chosen.

    A command: CONFINED where all of it is understood as reading or as asking over the network, STAGED for whatever
    changes something or could, both at most what the host reaches; NONE where containment would break it: another
    user's rights (unless the login is root), effects beyond files (packages, processes, mounts), a look at the host's
    own processes and sockets. A preview wants STAGED, whatever it does.
    Any other tool runs no program: one that changes files is STAGED where `most` allows it, whatever the kernel can do,
    as its changes are prepared in a layer; one that reads is NONE.
    """
    if not tool.runs:
        return Level.NONE if tool.hints.read_only or most < Level.STAGED else Level.STAGED
    wanted = Level.STAGED if call.mode is Mode.PREVIEW else _wanted(effects, facts)
    return min(wanted, most, containment_reachable(facts))


def demanded(decision: Decision) -> Level:
    """The weakest level under which this decision's obligations are met; NONE where it demands no containment."""
    return demanded_by(decision.obligations)


def _wanted(effects: Effects, facts: HostFacts) -> Level:
    beyond = [effect for effect in effects.of(EffectKind.SYSTEM) if effect.by not in _WITHIN_FILES]
    if beyond or (effects.privileged and facts.user != "root"):
        return Level.NONE
    if _may_change(effects):
        return Level.STAGED
    return Level.NONE if _LOOKING_AROUND.intersection(effects.programs) else Level.CONFINED


def _may_change(effects: Effects) -> bool:
    declared = effects.declared
    seen = any(
        effect.kind not in (EffectKind.READ, EffectKind.NETWORK) and not is_sink(effect) for effect in effects.inferred
    )
    unread = bool(effects.opaque or effects.unknown_programs)
    named = bool(declared.writes or declared.deletes or declared.services)
    return seen or unread or named or effects.privileged or effects.downloads_to_shell
