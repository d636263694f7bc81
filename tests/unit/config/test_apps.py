"""An app of the configuration becomes the value that was meant; where it may lie, and where its artifacts come from."""

from pathlib import Path

import pytest

from app_configs import BEFORE, HOSTS, SHOP, app, fault
from configs import AGENT, only_problem, write
from interlock.config import load
from interlock_tools.apps import App, Batches, Freeze, HealthCheck, Hook, ManagerKind, Service, Window

FULL = """
[apps.shop]
hosts = ["web2", "group:web", "label:env=prod"]
path = "/srv//shop/"
strategy = "release"
owner = "team-web"
keep = 7
shared = ["uploads", "var/log/"]
unreachable = "skip"
on_restart = "continue"
timezone = "Europe/Berlin"
windows = ["mon-fri 09:00-17:00", "sat,sun 22:00-24:00"]
[apps.shop.service]
unit = "shop"
manager = "supervisor"
config = "/etc/supervisor/supervisord.conf"
on_release = "reload"
timeout_seconds = 90
[[apps.shop.checks]]
kind = "http"
target = "http://127.0.0.1:8080/health"
expected = "ok"
warm_up_seconds = 0.5
interval_seconds = 2
tries = 3
timeout_seconds = 4
[[apps.shop.checks]]
kind = "tcp"
target = "[::1]:5432"
[[apps.shop.checks]]
kind = "command"
target = "cat /run/shop.state"
expected = "ready"
[[apps.shop.checks]]
kind = "service"
[apps.shop.batches]
canary = "10%"
size = 2
pause_seconds = 5
[apps.shop.hooks.prepare]
argv = ["./bin/migrate", "--yes"]
timeout_seconds = 600
network = "outbound"
writes = ["/var/cache/shop/"]
containment = "none"
[apps.shop.hooks.activate]
argv = ["./bin/warm"]
[apps.shop.hooks.after]
argv = ["./bin/tell"]
[[apps.shop.freezes]]
first = 2026-12-20
last = 2027-01-03
reason = "holidays"
[[apps.shop.freezes]]
first = "2027-04-01"
last = "2027-04-01"
"""


def test_everything_that_can_be_said_of_an_app_arrives_as_it_was_meant(tmp_path: Path) -> None:
    assert app(tmp_path, FULL) == App(
        name="shop",
        hosts=("web2", "web1", "db1"),
        path="/srv/shop",
        owner="team-web",
        keep=7,
        shared=("uploads", "var/log"),
        unreachable="skip",
        on_restart="continue",
        timezone="Europe/Berlin",
        windows=(Window((0, 1, 2, 3, 4), 540, 1_020), Window((5, 6), 1_320, 1_440)),
        service=Service("shop", ManagerKind.SUPERVISOR, "/etc/supervisor/supervisord.conf", "reload", {}, 90),
        checks=(
            HealthCheck("http", "http://127.0.0.1:8080/health", "ok", 0.5, 2.0, 3, 4.0),
            HealthCheck("tcp", "[::1]:5432"),
            HealthCheck("command", "cat /run/shop.state", "ready"),
            HealthCheck("service"),
        ),
        batches=Batches("10%", "2", 5.0),
        prepare=Hook(("./bin/migrate", "--yes"), 600, "outbound", ("/var/cache/shop",), "none"),
        activate=Hook(("./bin/warm",)),
        after=Hook(("./bin/tell",)),
        freezes=(Freeze("2026-12-20", "2027-01-03", "holidays"), Freeze("2027-04-01", "2027-04-01")),
    )


def test_hosts_and_a_path_are_enough_and_the_rest_is_the_default_of_the_value(tmp_path: Path) -> None:
    assert app(tmp_path, SHOP) == App("shop", ("web1",), "/srv/shop")
    assert load(write(tmp_path, BEFORE)).apps == {}


def test_a_service_can_be_the_name_of_its_unit_alone(tmp_path: Path) -> None:
    assert app(tmp_path, SHOP + 'service = "nginx"\n').service == Service("nginx")


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ('["db1", "web1"]', ("db1", "web1")),
        ('["group:web"]', ("web1", "web2")),
        ('["label:env=prod", "group:web"]', ("web1", "db1", "web2")),
        ('["db1", "*"]', ("db1", "web1", "web2")),
        ('["web1", "web1"]', ("web1",)),
    ],
)
def test_hosts_stand_in_the_order_of_switching_each_of_them_once(
    tmp_path: Path, entries: str, names: tuple[str, ...]
) -> None:
    assert app(tmp_path, f'[apps.shop]\nhosts = {entries}\npath = "/srv/shop"\n').hosts == names


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ('hosts = ["web1", "web9"]', "hosts[1]", "no such host (did you mean 'web"),
        ('hosts = ["group:wbe"]', "hosts[0]", "no host is in this group (did you mean 'web'?)"),
        ('hosts = ["label:env=prd"]', "hosts[0]", "no host has this label (did you mean 'env=prod'?)"),
        ("hosts = []", "hosts", "names no host"),
        ('hosts = "web1"', "hosts", "list"),
    ],
)
def test_hosts_that_are_not_there_are_named_with_the_closest_ones(
    tmp_path: Path, line: str, key: str, said: str
) -> None:
    line_number, found, text = fault(tmp_path, f'[apps.shop]\npath = "/srv/shop"\n{line}\n')
    assert (line_number, found) == (3, f"apps.shop.{key}")
    assert said in text


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("mon 00:00-24:00", Window((0,), 0, 1_440)),
        ("mon,wed,fri 09:05-09:06", Window((0, 2, 4), 545, 546)),
        ("fri-mon 10:00-12:00", Window((0, 4, 5, 6), 600, 720)),
        ("Mon-Sun 10:00-12:00", Window((0, 1, 2, 3, 4, 5, 6), 600, 720)),
        ("tue,mon-wed,tue 10:00-12:00", Window((0, 1, 2), 600, 720)),
    ],
)
def test_a_window_has_the_days_and_minutes_it_names(tmp_path: Path, text: str, window: Window) -> None:
    assert app(tmp_path, f'{SHOP}windows = ["{text}"]\n').windows == (window,)


@pytest.mark.parametrize(
    ("canary", "size", "batches"),
    [
        ("1", '"100%"', Batches()),
        ("0", "1", Batches("0", "1")),
        ('"10%"', '"25%"', Batches("10%", "25%")),
        ('"3"', "1000", Batches("3", "1000")),
    ],
)
def test_batches_are_numbers_or_shares_of_hosts(tmp_path: Path, canary: str, size: str, batches: Batches) -> None:
    assert app(tmp_path, f"{SHOP}[apps.shop.batches]\ncanary = {canary}\nsize = {size}\n").batches == batches


@pytest.mark.parametrize(
    ("path", "hosts", "apart"),
    [
        ("/srv/shop", "web2", True),
        ("/srv/shop2", "web1", True),
        ("/srv/shop", "group:web", False),
        ("/srv/shop/admin", "web1", False),
        ("/srv//shop/", "web1", False),
    ],
)
def test_two_apps_never_lie_in_each_other_on_one_host(tmp_path: Path, path: str, hosts: str, apart: bool) -> None:
    text = f'{SHOP}[apps.admin]\npath = "{path}"\nhosts = ["{hosts}"]\n'
    if apart:
        assert set(load(write(tmp_path, BEFORE + text)).apps) == {"shop", "admin"}
        return
    line, key, said = fault(tmp_path, text)
    assert (line, key) == (5, "apps.admin.path")
    assert "the app shop on the same host" in said


def test_the_outer_of_two_apps_is_found_whichever_stands_first(tmp_path: Path) -> None:
    inner = '[apps.admin]\nhosts = ["web1"]\npath = "/srv/shop/admin"\n'
    assert fault(tmp_path, inner + SHOP)[:2] == (6, "apps.shop.path")


def test_an_app_lies_in_no_tree_that_is_protected_on_one_of_its_hosts(tmp_path: Path) -> None:
    text = '[apps.shop]\nhosts = ["web1", "{host}"]\npath = "/srv/vault/shop"\n'
    line, key, said = fault(tmp_path, text.format(host="web2"))
    assert (line, key) == (3, "apps.shop.path")
    assert "on web2 it lies in a tree that is protected" in said
    assert app(tmp_path, text.format(host="db1")).path == "/srv/vault/shop"


def test_an_app_beside_this_very_file_is_refused_on_a_host_that_is_this_machine(tmp_path: Path) -> None:
    text = f'[hosts.here]\naddress = "127.0.0.1"\n[apps.shop]\nhosts = ["here"]\npath = "{tmp_path}/shop"\n'
    assert "protected" in fault(tmp_path, text)[2]


def test_an_app_may_be_the_very_workspace_of_its_host(tmp_path: Path) -> None:
    here = '[hosts.web5]\naddress = "10.0.0.5"\nworkspace = ["/srv/shop"]\n'
    assert app(tmp_path, here + SHOP.replace("web1", "web5")).hosts == ("web5",)


def test_more_apps_or_hosts_than_there_may_be_are_refused(tmp_path: Path) -> None:
    many = "".join(f'[apps.a{n}]\nhosts = ["web1"]\npath = "/srv/a{n}"\n' for n in range(201))
    assert fault(tmp_path, many)[1] == "apps"
    fleet = "".join(f'[hosts.h{n}]\naddress = "h{n}"\n' for n in range(1_001))
    _, key, said = fault(tmp_path, f'{fleet}[apps.shop]\nhosts = ["*"]\npath = "/srv/shop"\n')
    assert key == "apps.shop.hosts"
    assert "more than 1000 hosts" in said


def test_artifacts_come_from_a_folder_that_only_its_owner_may_write(tmp_path: Path) -> None:
    conf, folder = tmp_path / "conf", tmp_path / "made"
    conf.mkdir()
    text = '[server]\nartifacts = "../made"\n[hosts.here]\naddress = "localhost"\n' + AGENT
    assert "no such folder" in only_problem(conf, text).message
    folder.write_text("")
    assert "no such folder" in only_problem(conf, text).message
    folder.unlink()
    folder.mkdir()
    for mode in (0o775, 0o757):
        folder.chmod(mode)
        problem = only_problem(conf, text)
        assert (problem.line, problem.key) == (2, "server.artifacts")
        assert problem.hint.startswith("chmod go-w ")
    folder.chmod(0o755)
    found = load(write(conf, text))
    assert found.artifacts_dir is not None
    assert found.artifacts_dir.samefile(folder)
    assert str(found.artifacts_dir) in found.hosts["here"].protected
    assert load(write(conf, HOSTS + AGENT)).artifacts_dir is None
