"""What is written for each manager: every word quoted, nothing waited for by hand where the manager waits."""

import shlex
import subprocess

import pytest

from interlock_tools.apps import SERVICE_ACTIONS, HealthCheck, ManagerKind, Service
from interlock_tools.call import Check
from interlock_tools.service_words import active_command, health_check, service_command

NASTY = 'it\'s; touch $HOME `id` "x" && \n*'
OWN = {action: ("/opt/shop/ctl", action, "a b") for action in SERVICE_ACTIONS}


def service(manager: ManagerKind, unit: str = "shop", **more: object) -> Service:
    return Service(unit, manager, argv=OWN if manager is ManagerKind.COMMAND else {}, **more)


def words(line: str) -> list[str]:
    return shlex.split(line)


@pytest.mark.parametrize("action", SERVICE_ACTIONS)
def test_systemd_is_told_without_pager_and_without_questions(action: str) -> None:
    line = service_command(service(ManagerKind.SYSTEMD, "shop@1.service"), action)
    assert line == f"systemctl --no-pager --no-ask-password {action} -- shop@1.service"
    assert active_command(service(ManagerKind.SYSTEMD)) == "systemctl is-active --quiet -- shop"


def test_runit_waits_by_itself_as_long_as_the_service_may_take() -> None:
    shop = service(ManagerKind.RUNIT, timeout_seconds=7)
    for action in ("start", "stop"):
        assert service_command(shop, action) == f"sv -w 7 {action} shop"
    assert "; sv -w 7 restart shop && until new=" in service_command(shop, "restart")
    assert service_command(shop, "status") == "sv status shop"
    assert service_command(shop, "reload").endswith("&& sv hup shop")


def test_supervisor_is_told_with_its_configuration_and_never_from_a_folder_that_could_bring_another() -> None:
    shop = service(ManagerKind.SUPERVISOR, config="/etc/my conf")
    for action in ("start", "stop", "restart", "status"):
        line = service_command(shop, action)
        assert f"cd / && supervisorctl -c '/etc/my conf' {action} shop" in line
    assert "cd / && supervisorctl -c '/etc/my conf' signal HUP shop" in service_command(shop, "reload")
    assert "-c" not in words(service_command(service(ManagerKind.SUPERVISOR), "status"))
    for line in (service_command(shop, "restart"), active_command(shop)):
        assert line.count("supervisorctl") == line.count("cd / && supervisorctl")


def test_scripts_and_the_operators_own_commands_are_started_as_they_are() -> None:
    assert service_command(service(ManagerKind.OPENRC), "restart") == "rc-service shop restart"
    assert active_command(service(ManagerKind.OPENRC)) == "rc-service shop status"
    assert service_command(service(ManagerKind.SYSV), "reload") == "/etc/init.d/shop reload"
    assert active_command(service(ManagerKind.SYSV)) == "/etc/init.d/shop status"
    assert service_command(service(ManagerKind.COMMAND), "stop") == "/opt/shop/ctl stop 'a b'"
    assert active_command(service(ManagerKind.COMMAND)) == "/opt/shop/ctl status 'a b'"


def test_what_nobody_wrote_a_command_for_cannot_be_done() -> None:
    shop = Service("shop", ManagerKind.COMMAND, argv={"restart": ("/opt/ctl",)})
    with pytest.raises(ValueError, match="no command for stop"):
        service_command(shop, "stop")
    with pytest.raises(ValueError, match="no command for status"):
        active_command(shop)


@pytest.mark.parametrize("manager", ManagerKind)
def test_no_other_action_and_no_name_that_is_an_option_gets_through(manager: ManagerKind) -> None:
    with pytest.raises(ValueError, match="not to 'enable'"):
        service_command(service(manager), "enable")
    for unit in ("", "-H", "--help"):
        with pytest.raises(ValueError, match="no name of a service"):
            service_command(service(manager, unit), "start")
        with pytest.raises(ValueError, match="no name of a service"):
            active_command(service(manager, unit))


@pytest.mark.parametrize("action", [*SERVICE_ACTIONS, "is active"])
@pytest.mark.parametrize("manager", [one for one in ManagerKind if one is not ManagerKind.COMMAND])
def test_a_name_stays_one_word_whatever_is_in_it(manager: ManagerKind, action: str, tmp_path) -> None:
    nasty = service(manager, NASTY, config=NASTY, timeout_seconds=1)
    line = active_command(nasty) if action == "is active" else service_command(nasty, action)
    # In place of the managers: functions that say each word they got. Only a path with a slash is no function's name.
    names = ("systemctl", "supervisorctl", "sv", "rc-service")
    says = '() { printf \'<%s>\' "$@" >&2; echo "run: (pid $RANDOM$RANDOM) RUNNING x"; }\n'
    script = "".join(name + says for name in names) + line
    told = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script],
        cwd=tmp_path, env={"HOME": "/nowhere", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    asked = f"/etc/init.d/{NASTY}" if manager is ManagerKind.SYSV else f"<{NASTY}>"
    assert asked in told.stderr
    assert list(tmp_path.iterdir()) == []


# ── health checks ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_page_a_port_and_a_command_are_measured_by_the_checks_there_are() -> None:
    page = health_check(HealthCheck("http", "http://127.0.0.1:8080/", "200"), None)
    assert page == Check("http_ok", "http://127.0.0.1:8080/", "200")
    assert health_check(HealthCheck("tcp", "8080"), None) == Check("port_open", "8080")
    assert health_check(HealthCheck("command", "true", "ok"), None) == Check("command_ok", "true", "ok")


def test_a_service_is_asked_of_its_manager() -> None:
    shop, other = service(ManagerKind.RUNIT), service(ManagerKind.RUNIT, "other")
    assert health_check(HealthCheck("service"), shop) == Check("command_ok", active_command(shop))
    assert health_check(HealthCheck("service", "shop"), shop) == Check("command_ok", active_command(shop))
    assert health_check(HealthCheck("service", "other"), shop) == Check("command_ok", active_command(other))


def test_a_unit_of_nobodys_is_asked_of_the_manager_that_knows_it_on_the_host() -> None:
    own = service(ManagerKind.COMMAND)
    assert health_check(HealthCheck("service", "other"), None) == Check("service_active", "other")
    assert health_check(HealthCheck("service", "other"), own) == Check("service_active", "other")
    assert health_check(HealthCheck("service"), own) == Check("command_ok", active_command(own))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the name of a unit"):
        health_check(HealthCheck("service"), None)
    with pytest.raises(ValueError, match="not 'ping'"):
        health_check(HealthCheck("ping", "x"), None)
