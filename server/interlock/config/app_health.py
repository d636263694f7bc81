"""The service of an app and the checks of its health, from their tables in the file. It asks no host."""

from __future__ import annotations

from interlock.config.app_forms import Fault, path_fault, program_fault, tcp_fault, unit_fault, url_fault
from interlock.config.app_sections import CheckSection, ServiceSection
from interlock.config.faults import did_you_mean
from interlock.config.spot import Spot
from interlock_tools.apps import SERVICE_ACTIONS, HealthCheck, ManagerKind, Service


def build_service(section: ServiceSection, spot: Spot) -> Service:
    """The service as a value; what is wrong with it is said at its spot."""
    manager = ManagerKind(section.manager)
    unit = spot.demanded("unit", section.unit, 'unit = "shop"')
    if section.unit is not None:
        spot.say(unit_fault(unit, manager), "unit")
    if section.config:
        alone = ("only supervisor has such a file", 'remove it, or manager = "supervisor"')
        spot.say(path_fault(section.config) if manager is ManagerKind.SUPERVISOR else alone, "config")
    _check_argv(section, manager, spot)
    return Service(
        unit=unit,
        manager=manager,
        config=section.config,
        on_release=section.on_release,
        argv={action: tuple(words) for action, words in section.argv.items()},
        timeout_seconds=section.timeout_seconds,
    )


def _check_argv(section: ServiceSection, manager: ManagerKind, spot: Spot) -> None:
    """An argv for each action that will be asked for, and only where it is used."""
    if manager is not ManagerKind.COMMAND:
        if section.argv:
            spot.say(('only the manager "command" has an argv', 'remove it, or manager = "command"'), "argv")
        return
    for action, words in section.argv.items():
        if action not in SERVICE_ACTIONS:
            spot.say(("there is no such action", did_you_mean(action, SERVICE_ACTIONS)), "argv", action)
        spot.say(program_fault(words), "argv", action, 0)
    for action in ("status", section.on_release):
        if action not in {"none", *section.argv}:
            spot.say((f"{action} is missing", f'{action} = ["program", "argument"]'), "argv")


def build_check(section: CheckSection, service: Service | None, spot: Spot) -> HealthCheck:
    """One check as a value; what is wrong with it is said at its spot."""
    kind = spot.demanded("kind", section.kind, 'kind = "http", "tcp", "command" or "service"')
    spot.say(_target_fault(kind, section.target, service), "target")
    if section.expected and kind in {"tcp", "service"}:
        spot.say((f"a check of kind {kind} has nothing to compare it with", "remove it"), "expected")
    return HealthCheck(
        kind=kind,
        target=section.target,
        expected=section.expected,
        warm_up_seconds=section.warm_up_seconds,
        interval_seconds=section.interval_seconds,
        tries=section.tries,
        timeout_seconds=section.timeout_seconds,
    )


def _target_fault(kind: str, target: str, service: Service | None) -> Fault | None:
    match kind:
        case "http":
            return url_fault(target)
        case "tcp":
            return tcp_fault(target)
        case "command":
            return None if target.strip() else ("it has no command", "target = a line of bash that ends with 0 if well")
        case "service":
            return _unit_target_fault(target, service)
        case _:
            return None


def _unit_target_fault(target: str, service: Service | None) -> Fault | None:
    """The unit of a service check: by default the app's own, whose manager is asked in any case."""
    if not target:
        return None if service else ("the app has no service", 'service = "shop" in its table, or target = a unit')
    return unit_fault(target, service.manager if service else ManagerKind.SYSTEMD)
