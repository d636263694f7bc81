"""Whatever is wrong with an app of the configuration is said with its line, its key and what to write instead."""

from pathlib import Path

import pytest

from app_configs import BEFORE, LINES_BEFORE, SHOP, app, fault
from configs import only_problem, problems_of
from interlock_tools.apps import HealthCheck, ManagerKind, Service


def test_what_is_missing_is_named_at_its_table(tmp_path: Path) -> None:
    text = (
        "[apps.shop]\n[[apps.shop.checks]]\ntries = 2\n[apps.shop.service]\non_release = 'none'\n"
        "[apps.shop.hooks.after]\nnetwork = 'none'\n[[apps.shop.freezes]]\nreason = 'x'\n"
    )
    found = {(p.line - LINES_BEFORE, p.key, p.message) for p in problems_of(tmp_path, BEFORE + text)}
    assert found == {
        (1, "apps.shop.hosts", "it names no host"),
        (1, "apps.shop", "path is missing"),
        (2, "apps.shop.checks[0]", "kind is missing"),
        (4, "apps.shop.service", "unit is missing"),
        (6, "apps.shop.hooks.after", "argv is missing"),
        (8, "apps.shop.freezes[0]", "first is missing"),
        (8, "apps.shop.freezes[0]", "last is missing"),
    }


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("srv/shop", "absolute path"),
        ("/srv/shop/../other", "without .."),
        ("/", "whole machine"),
        ("//.//", "whole machine"),
        ("/srv", "two folders deep"),
        ("/srv/", "two folders deep"),
        ("", "absolute path"),
        ("/srv/a\\nb", "text that matches"),
    ],
)
def test_an_app_lies_in_a_folder_of_its_own(tmp_path: Path, path: str, said: str) -> None:
    line, key, text = fault(tmp_path, f'[apps.shop]\nhosts = ["web1"]\npath = "{path}"\n')
    assert (line, key) == (3, "apps.shop.path")
    assert said in text


BAD_LINES = [
    ('strategy = "rsync"', "strategy", "'release'"),
    ("keep = 0", "keep", "greater than or equal to 1"),
    ("keep = 51", "keep", "less than or equal to 50"),
    ('unreachable = "wait"', "unreachable", "'fail' or 'skip'"),
    ('on_restart = "stop"', "on_restart", "'take_back' or 'continue'"),
    ('owner = "a\\u0007"', "owner", "text that matches"),
    ('shared = ["log", "/var/log"]', "shared[1]", "relative path"),
    ('shared = ["a/../b"]', "shared[0]", "without .."),
    ('shared = ["./"]', "shared[0]", "the release itself"),
    ('shared = [""]', "shared[0]", "the release itself"),
    ('shared = ["a\\tb"]', "shared[0]", "text that matches"),
    ('shared = ["var", "var/log"]', "shared[1]", "inside the other"),
    ('shared = ["var/log", "var"]', "shared[1]", "inside the other"),
    (f"shared = {[f'd{number}' for number in range(51)]}", "shared", "at most 50"),
    ('timezone = "Europe/Berln"', "timezone", "'Europe/Berlin'"),
    ('timezone = "../../etc/passwd"', "timezone", "no such time zone"),
    ('timezone = "Europe"', "timezone", "no such time zone"),
    ('windows = ["mon 09:00-17:00", "moon 09:00-17:00"]', "windows[1]", "not a window"),
    ('windows = ["mun 09:00-17:00"]', "windows[0]", "no such day (did you mean"),
    ('windows = ["mon 09:60-17:00"]', "windows[0]", "no such time"),
    ('windows = ["mon 24:00-24:00"]', "windows[0]", "no such time"),
    ('windows = ["mon 09:00-24:01"]', "windows[0]", "no such time"),
    ('windows = ["mon 22:00-06:00"]', "windows[0]", "write two"),
    ('windows = ["mon 09:00-09:00"]', "windows[0]", "does not end after its start"),
    (f"windows = {['mon 09:00-17:00'] * 21}", "windows", "at most 20"),
    ("service = 5", "service", "name of a unit"),
    ('service = "-H evil"', "service.unit", "not the name of a unit"),
    ('service = {unit = "shop", manager = "upstart"}', "service.manager", "'systemd'"),
    ('service = {unit = "shop", on_release = "kill"}', "service.on_release", "'restart', 'reload' or 'none'"),
    ('service = {unit = "shop", timeout_seconds = 601}', "service.timeout_seconds", "less than or equal to 600"),
    ('service = {unit = "shop", config = "/etc/s.conf"}', "service.config", "only supervisor"),
    ('service = {unit = "a", manager = "supervisor", config = "s"}', "service.config", "absolute path"),
    ('service = {unit = "a", argv = {status = ["x"]}}', "service.argv", 'only the manager "command"'),
    ('service = {unit = "a", manager = "command", argv = {restart = ["x"]}}', "service.argv", "status is missing"),
    ('service = {unit = "a", manager = "command", argv = {status = ["x"]}}', "service.argv", "restart is missing"),
    (
        'service = {unit = "a", manager = "command", on_release = "reload", argv = {status = ["x"], restart = ["x"]}}',
        "service.argv",
        "reload is missing",
    ),
    (
        'service = {unit = "a", manager = "command", argv = {status = ["x"], restart = ["x"], stopp = ["x"]}}',
        "service.argv.stopp",
        "'stop'",
    ),
    (
        'service = {unit = "a", manager = "command", argv = {status = ["-x"], restart = ["x"]}}',
        "service.argv.status[0]",
        "no program",
    ),
    (
        'service = {unit = "a", manager = "command", argv = {status = [], restart = ["x"]}}',
        "service.argv.status",
        "at least 1",
    ),
    ('checks = [{kind = "icmp"}]', "checks[0].kind", "'http', 'tcp', 'command' or 'service'"),
    ('checks = [{kind = "service"}]', "checks[0].target", "the app has no service"),
    ('checks = [{kind = "service", target = "a b"}]', "checks[0].target", "not the name of a unit"),
    ('checks = [{kind = "command", target = " "}]', "checks[0].target", "has no command"),
    (
        'checks = [{kind = "tcp", target = "80", expected = "ok"}]',
        "checks[0].expected",
        "a check of kind tcp has nothing",
    ),
    ('checks = [{kind = "tcp", target = "80", tries = 0}]', "checks[0].tries", "greater than or equal to 1"),
    ('checks = [{kind = "tcp", target = "80", tries = 101}]', "checks[0].tries", "less than or equal to 100"),
    ('checks = [{kind = "tcp", target = "80", warm_up_seconds = nan}]', "checks[0].warm_up_seconds", "equal to 600"),
    ('checks = [{kind = "tcp", target = "80", interval_seconds = 0}]', "checks[0].interval_seconds", "equal to 0.1"),
    ('checks = [{kind = "tcp", target = "80", timeout_seconds = inf}]', "checks[0].timeout_seconds", "equal to 300"),
    ("checks = [" + '{kind = "tcp", target = "80"},' * 21 + "]", "checks", "at most 20"),
    ("batches = {canary = 1001}", "batches.canary", "a number of hosts up to 1000"),
    ("batches = {canary = true}", "batches.canary", "a number of hosts"),
    ('batches = {canary = "0%"}', "batches.canary", "a share of them"),
    ('batches = {canary = "101%"}', "batches.canary", "a share of them"),
    ("batches = {canary = -1}", "batches.canary", "a number of hosts"),
    ("batches = {size = 0}", "batches.size", "at least 1 host"),
    ('batches = {size = "0"}', "batches.size", "at least 1 host"),
    ("batches = {pause_seconds = 3601}", "batches.pause_seconds", "less than or equal to 3600"),
    ("hooks = {prepare = {argv = []}}", "hooks.prepare.argv", "at least 1"),
    ('hooks = {prepare = {argv = ["", "x"]}}', "hooks.prepare.argv[0]", "no program"),
    ('hooks = {after = {argv = ["x"], timeout_seconds = 0}}', "hooks.after.timeout_seconds", "equal to 1"),
    ('hooks = {after = {argv = ["x"], network = "all"}}', "hooks.after.network", "'none' or 'outbound'"),
    ('hooks = {after = {argv = ["x"], containment = "staged"}}', "hooks.after.containment", "'confined' or 'none'"),
    ('hooks = {after = {argv = ["x"], writes = ["/a", "b"]}}', "hooks.after.writes[1]", "absolute path"),
    ('hooks = {after = {argv = ["x"], writes = ["/"]}}', "hooks.after.writes[0]", "whole machine"),
    ("freezes = [{first = 2026-12-20, last = 2026-12-19}]", "freezes[0].last", "before the first day"),
    ('freezes = [{first = "2026-02-30", last = 2026-12-19}]', "freezes[0].first", "a day of the calendar"),
    ('freezes = [{first = "20261219", last = 2026-12-19}]', "freezes[0].first", "a day of the calendar"),
    ("freezes = [{first = 2026-12-19T10:00:00, last = 2026-12-19}]", "freezes[0].first", "a day of the calendar"),
    ("freezes = [" + "{first = 2026-12-20, last = 2026-12-20}," * 51 + "]", "freezes", "at most 50"),
    ("kepe = 5", "kepe", "unknown key (did you mean 'keep'?)"),
    ('service = {unti = "shop"}', "service.unti", "'unit'"),
    ('checks = [{kind = "tcp", tagret = "80"}]', "checks[0].tagret", "'target'"),
    ("batches = {cannary = 1}", "batches.cannary", "'canary'"),
    ('hooks = {prepair = {argv = ["x"]}}', "hooks.prepair", "'prepare'"),
    ('hooks = {after = {argv = ["x"], write = ["/a"]}}', "hooks.after.write", "'writes'"),
    ("freezes = [{frist = 2026-12-20, last = 2026-12-20}]", "freezes[0].frist", "'first'"),
]


@pytest.mark.parametrize(("line", "key", "said"), BAD_LINES, ids=lambda value: value[:60])
def test_a_bad_line_is_named_by_its_number_and_key_with_what_to_write(
    tmp_path: Path, line: str, key: str, said: str
) -> None:
    number, found, text = fault(tmp_path, f"{SHOP}# keep your head\n{line}\n")
    assert (number, found) == (5, f"apps.shop.{key}")
    assert said in text


def test_every_fault_of_every_app_is_said_at_once(tmp_path: Path) -> None:
    text = (
        '[apps.shop]\nhosts = ["web9"]\npath = "/srv"\nwindows = ["now"]\n'
        '[apps.admin]\nhosts = ["web1"]\npath = "srv"\nservice = "-x"\n'
    )
    found = [(p.line - LINES_BEFORE, p.key) for p in problems_of(tmp_path, BEFORE + text)]
    assert sorted(found) == [
        (2, "apps.shop.hosts[0]"),
        (3, "apps.shop.path"),
        (4, "apps.shop.windows[0]"),
        (7, "apps.admin.path"),
        (8, "apps.admin.service.unit"),
    ]


@pytest.mark.parametrize(
    ("unit", "manager", "good"),
    [
        ("shop@1.service", "systemd", True),
        ("shop:web_0-1", "supervisor", True),
        ("u" * 200, "systemd", True),
        ("u" * 201, "systemd", False),
        ("-shop", "openrc", False),
        ("..", "sysv", False),
        ("a/b", "systemd", False),
        ("a;b", "systemd", False),
        ("", "systemd", False),
        ("/etc/service/shop", "runit", True),
        ("shop", "runit", True),
        ("/etc/../shop", "runit", False),
        ("/", "runit", False),
        ("/etc/service/shop", "systemd", False),
    ],
)
def test_a_unit_is_a_plain_name_and_for_runit_also_a_folder(
    tmp_path: Path, unit: str, manager: str, good: bool
) -> None:
    text = f'{SHOP}[apps.shop.service]\nmanager = "{manager}"\nunit = "{unit}"\n'
    if good:
        assert app(tmp_path, text).service == Service(unit, ManagerKind(manager))
    else:
        assert fault(tmp_path, text)[:2] == (6, "apps.shop.service.unit")


def test_a_manager_of_ones_own_needs_an_argv_for_what_it_will_be_asked(tmp_path: Path) -> None:
    argv = 'argv = {status = ["svc", "status"], restart = ["sudo", "-n", "svc", "restart"]}\n'
    service = app(tmp_path, f'{SHOP}[apps.shop.service]\nunit = "shop"\nmanager = "command"\n{argv}').service
    assert service
    assert service.argv == {"status": ("svc", "status"), "restart": ("sudo", "-n", "svc", "restart")}
    quiet = 'on_release = "none"\nargv = {status = ["svc", "status"]}\n'
    assert app(tmp_path, f'{SHOP}[apps.shop.service]\nunit = "shop"\nmanager = "command"\n{quiet}').service


@pytest.mark.parametrize(
    ("kind", "target", "good"),
    [
        ("http", "http://127.0.0.1:8080/health?deep=1", True),
        ("http", "https://[::1]/", True),
        ("http", "ftp://127.0.0.1/", False),
        ("http", "/health", False),
        ("http", "http://", False),
        ("http", "http://127.0.0.1:99999/", False),
        ("http", "http://127.0.0.1:0/", False),
        ("http", "http://[::1/", False),
        ("http", "http://a b/", False),
        ("http", "", False),
        ("tcp", "5432", True),
        ("tcp", "db.internal:5432", True),
        ("tcp", "[::1]:5432", True),
        ("tcp", "::1:5432", False),
        ("tcp", "[zz]:5432", False),
        ("tcp", "[1:2]:5432", False),
        ("tcp", "0", False),
        ("tcp", "65536", False),
        ("tcp", "-x:80", False),
        ("tcp", "", False),
        ("service", "other.service", True),
    ],
)
def test_the_target_of_a_check_has_the_form_of_its_kind(tmp_path: Path, kind: str, target: str, good: bool) -> None:
    text = f'{SHOP}[[apps.shop.checks]]\nkind = "{kind}"\ntarget = "{target}"\n'
    if good:
        assert app(tmp_path, text).checks == (HealthCheck(kind, target),)
    else:
        assert fault(tmp_path, text)[:2] == (6, "apps.shop.checks[0].target")


@pytest.mark.parametrize("url", ["http://root:hunter2@127.0.0.1/", "http://root:hun@ter2@127.0.0.1:99999/"])
def test_a_login_in_a_url_is_refused_and_never_repeated(tmp_path: Path, url: str) -> None:
    problem = only_problem(tmp_path, f'{BEFORE}{SHOP}[[apps.shop.checks]]\nkind = "http"\ntarget = "{url}"\n')
    assert "login" in problem.message
    assert "hun" not in str(problem)
