"""Service words: the lines of bash that control and look at a configured service. It runs none and knows no host."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace

from interlock_tools.apps import SERVICE_ACTIONS, HealthCheck, ManagerKind, Service
from interlock_tools.call import Check

_UP = "RUNNING"
_DOWN = "STOPPED|EXITED|FATAL"


def service_command(service: Service, action: str) -> str:
    """One line of bash whose exit code is 0 only when the manager did it; `status` says how it stands, not whether.

    The manager may take `service.timeout_seconds`; whoever runs the line gives it a little more. Raises ValueError.
    """
    if action not in SERVICE_ACTIONS:
        raise ValueError(f"a service can be told to {', '.join(SERVICE_ACTIONS)}, not to {action!r}")
    _look_at(service)
    return _COMMANDS[service.manager](service, action)


def active_command(service: Service) -> str:
    """One line of bash whose exit code is 0 only while the service really runs. Raises ValueError."""
    _look_at(service)
    return _ACTIVE[service.manager](service)


def health_check(check: HealthCheck, service: Service | None) -> Check:
    """The postcondition that measures it on the host, once. Raises ValueError for what cannot be measured.

    `service` is the app's own; another unit is asked of the same manager, or of the one that knows it on the host.
    """
    if check.kind in _KINDS:
        return Check(_KINDS[check.kind], check.target, check.expected)
    if check.kind != "service":
        raise ValueError(f"a health check is http, tcp, command or service, not {check.kind!r}")
    if service is not None and check.target in ("", service.unit):
        return Check("command_ok", active_command(service))
    if not check.target:
        raise ValueError("a service check needs the name of a unit, because the app has no service of its own")
    # What the operator wrote as argv belongs to one unit alone.
    if service is None or service.manager is ManagerKind.COMMAND:
        return Check("service_active", check.target)
    return Check("command_ok", active_command(replace(service, unit=check.target)))


_KINDS = {"http": "http_ok", "tcp": "port_open", "command": "command_ok"}


def _look_at(service: Service) -> None:
    # Not every manager knows `--`: a name that looks like an option would be one.
    if not service.unit or service.unit.startswith("-"):
        raise ValueError(f"{service.unit!r} is no name of a service")


# ── systemd ──────────────────────────────────────────────────────────────────────────────────────────────────────────
# `start` of a Type=simple unit is done when the program was started: that it stays up is for the health check to see.


def _systemd(service: Service, action: str) -> str:
    return _words("systemctl", "--no-pager", "--no-ask-password", action, "--", service.unit)


def _systemd_active(service: Service) -> str:
    return _words("systemctl", "is-active", "--quiet", "--", service.unit)


# ── supervisor ───────────────────────────────────────────────────────────────────────────────────────────────────────
# Before version 4 supervisorctl ends with 0 whatever happened, and still does for `start` of a program that falls over
# again and again ("already started": it is in BACKOFF). So after each change the state itself is asked for.


def _supervisor(service: Service, action: str) -> str:
    if action == "status":
        return _supervisorctl(service, "status")
    if action == "reload":
        return f"{_supervisor_active(service)} && {_supervisorctl(service, 'signal', 'HUP')}"
    told = _supervisorctl(service, action)
    if action == "stop":
        return f"{told} && {_supervised(service, _DOWN)}"
    # It is RUNNING once it was up for its startsecs; after "already started" it may still be on the way there.
    wait = f"until=$((SECONDS + {service.timeout_seconds}))"
    once_more = "((SECONDS < until)) || exit 1; sleep 0.2"
    return f"{told} && ( {wait}; until {_supervised(service, _UP)}; do {once_more}; done )"


def _supervisor_active(service: Service) -> str:
    return _supervised(service, _UP)


def _supervised(service: Service, states: str) -> str:
    """Whether every process of the unit, which may be a group, is in one of these states, whatever its exit code."""
    look = (
        f"found=1; while read -r _ state _; do case $state in {states}) found=0;; *) exit 1;; esac; done; exit $found"
    )
    return f"( set +o pipefail; {_supervisorctl(service, 'status')} | {{ {look}; }} )"


def _supervisorctl(service: Service, *action: str) -> str:
    # It takes a supervisord.conf of the folder it is started in before the host's own, and a release could bring one.
    config = ("-c", service.config) if service.config else ()
    return f"( cd / && {_words('supervisorctl', *config, *action, service.unit)} )"


# ── runit ────────────────────────────────────────────────────────────────────────────────────────────────────────────
# `sv status` ends with 0 for a service that is down, and `sv hup` for one that got no signal because it is down.
# `up`, `down` and `term` only send the wish; `start`, `stop` and `restart` wait for it. But `restart` is content with
# the old process where that one is less than a second old, because it compares seconds: we look for another number.

_NUMBER = "number() { [[ $(SV) =~ ^run:[^\\;]*\\(pid\\ ([0-9]+)\\) ]] && echo ${BASH_REMATCH[1]}; }"


def _runit(service: Service, action: str) -> str:
    if action == "status":
        return _words("sv", "status", service.unit)
    if action == "reload":
        return f"{_runit_active(service)} && {_words('sv', 'hup', service.unit)}"
    told = _words("sv", "-w", str(service.timeout_seconds), action, service.unit)
    if action != "restart":
        return told
    number = _NUMBER.replace("SV", _words("sv", "status", service.unit), 1)
    wait = f"old=$(number) || :; until=$((SECONDS + {service.timeout_seconds}))"
    once_more = '((SECONDS < until)) || { echo "timeout: process $old still runs"; exit 1; }; sleep 0.2'
    look = f'until new=$(number) && [ "$new" != "$old" ]; do {once_more}; done'
    return f"( {number}; {wait}; {told} && {look} )"


def _runit_active(service: Service) -> str:
    return f"[[ $({_words('sv', 'status', service.unit)}) == run:* ]]"


# ── scripts of /etc/init.d, and the operator's own ───────────────────────────────────────────────────────────────────


def _openrc(service: Service, action: str) -> str:
    return _words("rc-service", service.unit, action)


def _openrc_active(service: Service) -> str:
    return _openrc(service, "status")


def _sysv(service: Service, action: str) -> str:
    return _words(f"/etc/init.d/{service.unit}", action)


def _sysv_active(service: Service) -> str:
    return _sysv(service, "status")


def _own(service: Service, action: str) -> str:
    argv = service.argv.get(action, ())
    if not argv:
        raise ValueError(f"the service {service.unit} has no command for {action}; name one in its argv")
    return _words(*argv)


def _own_active(service: Service) -> str:
    return _own(service, "status")


def _words(*words: str) -> str:
    return shlex.join(words)


_COMMANDS: dict[ManagerKind, Callable[[Service, str], str]] = {
    ManagerKind.SYSTEMD: _systemd,
    ManagerKind.SUPERVISOR: _supervisor,
    ManagerKind.RUNIT: _runit,
    ManagerKind.OPENRC: _openrc,
    ManagerKind.SYSV: _sysv,
    ManagerKind.COMMAND: _own,
}
_ACTIVE: dict[ManagerKind, Callable[[Service], str]] = {
    ManagerKind.SYSTEMD: _systemd_active,
    ManagerKind.SUPERVISOR: _supervisor_active,
    ManagerKind.RUNIT: _runit_active,
    ManagerKind.OPENRC: _openrc_active,
    ManagerKind.SYSV: _sysv_active,
    ManagerKind.COMMAND: _own_active,
}
