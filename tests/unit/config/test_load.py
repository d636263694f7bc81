"""A configuration file becomes settings, or says everything that is wrong with it."""

import os
from pathlib import Path

import pytest

import interlock
from configs import AGENT, only_problem, problems_of, write
from interlock.config import ConfigFault, embedded, load, settings_for
from interlock.settings import Limits, SecretRef, facts_of
from interlock_policies.paths import PathClass, classify

HOST = '[hosts.web1]\naddress = "10.0.0.1"\n'


def test_a_small_file_is_enough(tmp_path: Path, home: Path) -> None:
    settings = load(write(tmp_path, HOST + AGENT))
    assert settings.hosts["web1"].address == "10.0.0.1"
    assert settings.default_principal == "agent"
    assert settings.state_dir == home / ".local/state/interlock"
    assert settings.limits == Limits()
    assert settings.source == tmp_path / "interlock.toml"


def test_every_setting_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "x")
    write(tmp_path, "k", "id_deploy")
    write(tmp_path, "permit (principal, action, resource);", "team.cedar")
    text = """
[server]
state_dir = "state"
principal = "bot"
[hosts.web1]
address = "10.0.0.1"
port = 2222
user = "deploy"
identities = [{file = "id_deploy"}]
jump = "ops@gate.example:22"
become = "root"
labels = {env = "prod", "app.kubernetes.io/name" = "shop"}
groups = ["web"]
cwd = "/srv"
workspace = ["/srv/shop"]
protected = ["/srv/secrets"]
sessions_max = 4
[principals.bot]
kind = "agent"
roles = ["operator"]
hosts = ["web1", "group:web", "label:env=prod"]
autonomy = 2
[limits]
attempts_max = 1
connect_timeout_seconds = 5
[policy]
packs = ["baseline"]
files = ["team.cedar"]
elicit_roles = ["peer"]
[http]
port = 9000
[telemetry]
otlp_endpoint = "http://127.0.0.1:4318/v1/traces"
[redact]
values = [{env = "DB_PASSWORD"}]
"""
    settings = load(write(tmp_path, text))
    host = settings.hosts["web1"]
    assert settings.state_dir == tmp_path / "state"
    assert host.identities == (SecretRef("file", str(tmp_path / "id_deploy")),)
    assert host.labels["app.kubernetes.io/name"] == "shop"
    assert (host.jump, host.become, host.sessions_max) == ("ops@gate.example:22", "root", 4)
    assert settings.principals["bot"].autonomy == 2
    assert settings.limits.connect_timeout_seconds == 5.0
    assert settings.policy_files == (tmp_path / "team.cedar",)
    assert settings.elicit_roles == {"peer"}
    assert settings.redact == (SecretRef("env", "DB_PASSWORD"),)
    assert settings.http.port == 9000


@pytest.mark.parametrize(
    ("text", "line", "key", "hint"),
    [
        ('[server]\n\nstate_dirr = "x"\n', 3, "server.state_dirr", "state_dir"),
        ('[serverr]\nprincipal = "agent"\n', 1, "serverr", "server"),
        ('[hosts.web2]\naddress = "a"\nprot = 22\n', 3, "hosts.web2.prot", "port"),
        ("[limits]\nattempt_max = 2\n", 2, "limits.attempt_max", "attempts_max"),
        ("[principals.bot]\nautonmy = 2\n", 2, "principals.bot.autonmy", "autonomy"),
        ('[hosts.web2]\naddress = "a"\npassword = "x"\n', 3, "hosts.web2.password", "passwords are never"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_closest_name(
    tmp_path: Path, text: str, line: int, key: str, hint: str
) -> None:
    problem = only_problem(tmp_path, HOST + AGENT + text)
    assert problem.line == line + (HOST + AGENT).count("\n")
    assert (problem.key, problem.message) == (key, "unknown key")
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[limits]\nattempts_max = 99\n", "limits.attempts_max", "less than or equal to 10"),
        ('[http]\nport = "80"\n', "http.port", "an integer"),
        ('[principals.bot]\nkind = "robot"\n', "principals.bot.kind", "'agent' or 'human'"),
        ('[hosts."we b"]\naddress = "a"\n', 'hosts."we b"', "names match"),
        ('[hosts.web2]\naddress = "a"\ncwd = "relative"\n', "hosts.web2.cwd", "matches ^/"),
        ('[telemetry]\notlp_endpoint = "http://user:secret@x"\n', "telemetry.otlp_endpoint", "matches"),
    ],
)
def test_a_bad_value_says_what_is_allowed(tmp_path: Path, text: str, key: str, hint: str) -> None:
    problem = only_problem(tmp_path, HOST + AGENT + text)
    assert problem.key == key
    assert hint in problem.hint
    assert problem.line > HOST.count("\n")


def test_a_literal_secret_is_refused_and_never_repeated(tmp_path: Path) -> None:
    identities = 'identities = ["hunter2", {env = "hunter2 hunter2"}]\n'
    text = '[hosts.web1]\naddress = "a"\n' + identities + '[redact]\nvalues=["hunter2"]\n'
    problems = problems_of(tmp_path, text + AGENT)
    assert [(p.line, p.key) for p in problems] == [
        (3, "hosts.web1.identities[0]"),
        (3, "hosts.web1.identities[1]"),
        (5, "redact.values[0]"),
    ]
    assert "hunter2" not in str(ConfigFault(problems))


def test_a_stray_secret_in_broken_syntax_is_not_repeated(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "[server]\nstate_dir = hunter2\n")
    assert problem.line == 2
    assert "hunter2" not in str(problem)


def test_a_missing_secret_says_which_one_and_how_to_mend_it(tmp_path: Path) -> None:
    open_key = write(tmp_path, "k", "id_open", mode=0o644)
    text = HOST + 'identities = [{env = "NO_KEY"}, {file = "id_none"}, {file = "id_open"}, "agent"]\n' + AGENT
    problems = problems_of(tmp_path, text)
    assert [p.key for p in problems] == [f"hosts.web1.identities[{index}]" for index in range(4)]
    assert "NO_KEY" in problems[0].message
    assert "id_none" in problems[1].message
    assert problems[2].hint == f"chmod 600 {open_key}"
    assert "ssh-agent" in problems[3].message


def test_unknown_references_are_named_with_the_closest_one(tmp_path: Path) -> None:
    text = """
[server]
principal = "agnet"
[hosts.web1]
address = "a"
jump = "bastoin"
groups = ["web"]
labels = {env = "prod"}
[hosts.bastion]
address = "b"
[principals.agent]
hosts = ["web2", "group:wbe", "label:env=prd", "*"]
"""
    problems = {p.key: p for p in problems_of(tmp_path, text)}
    assert "'bastion'" in problems["hosts.web1.jump"].hint
    assert "'web1'" in problems["principals.agent.hosts[0]"].hint
    assert "'web'" in problems["principals.agent.hosts[1]"].hint
    assert "'env=prod'" in problems["principals.agent.hosts[2]"].hint
    assert "'agent'" in problems["server.principal"].hint
    assert len(problems) == 5


def test_jump_hosts_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = '[hosts.a]\naddress = "a"\njump = "b"\n[hosts.b]\naddress = "b"\njump = "a"\n'
    problems = problems_of(tmp_path, text + AGENT)
    assert {p.key for p in problems} == {"hosts.a.jump", "hosts.b.jump"}
    assert "circle" in problems[0].message


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "192.0.2.1", "box.example"])
def test_beyond_loopback_nothing_is_served_without_tls_and_tokens(tmp_path: Path, listen: str) -> None:
    problems = problems_of(tmp_path, HOST + AGENT + f'[http]\nlisten = "{listen}"\ntokens = false\n')
    assert {p.key for p in problems} == {"http.listen", "http.tokens"}


def test_a_host_that_is_this_machine_protects_interlocks_own_files(tmp_path: Path, home: Path) -> None:
    settings = load(write(tmp_path, HOST.replace("10.0.0.1", "localhost") + AGENT))
    assert str(home / ".local/state/interlock") in settings.hosts["web1"].protected
    assert str(tmp_path) in settings.hosts["web1"].protected


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "localhost", "127.1", "::1", "0.0.0.0", "LOCALHOST.", "box.localhost"]
)
def test_what_interlock_lives_by_is_protected_on_a_host_that_is_this_machine(tmp_path: Path, address: str) -> None:
    secrets, plain = (
        ("id_here", "id_far", "tls.key", "token"),
        ("known", "tls.pem", "team.cedar", "fleet", "inventory.ini"),
    )
    (tmp_path / "kept").mkdir()
    for name in (*secrets, *plain):
        (tmp_path / "kept" / name).write_text("")
        (tmp_path / "kept" / name).chmod(0o600 if name in secrets else 0o644)
    (tmp_path / "conf").mkdir()
    text = f"""
[hosts.here]
address = "{address}"
identities = [{{file = "../kept/id_here"}}]
known_hosts = "../kept/known"
[hosts.far]
address = "192.0.2.1"
identities = [{{file = "../kept/id_far"}}]
[inventory]
openssh = ["../kept/fleet"]
ansible = ["../kept/inventory.ini"]
[policy]
files = ["../kept/team.cedar"]
[http]
tls_certificate = "../kept/tls.pem"
tls_key = "../kept/tls.key"
[redact]
values = [{{file = "../kept/token"}}]
"""
    settings = load(write(tmp_path / "conf", text + AGENT))
    facts = facts_of(settings.hosts["here"])
    for path in (*(f"{tmp_path}/kept/{name}" for name in (*secrets, *plain)), settings.source, interlock.__file__):
        assert PathClass.INTERLOCK in classify(os.path.normpath(str(path)), facts), path
    assert settings.hosts["far"].protected == ()


def test_a_place_of_work_where_no_tool_may_look_is_said_before_any_call(tmp_path: Path) -> None:
    here = f'[hosts.here]\naddress = "127.0.0.1"\nworkspace = ["{tmp_path}/app"]\n'
    problem = only_problem(tmp_path, here + AGENT)
    assert "protected" in problem.message
    assert problem.key == "hosts.here.workspace[0]"
    far = '[hosts.far]\naddress = "10.0.0.1"\ncwd = "/srv/app"\nprotected = ["/srv"]\n'
    assert only_problem(tmp_path, far + AGENT).key == "hosts.far.cwd"


@pytest.mark.parametrize("place", ["vault", "~other/keys", "./keys", ""])
def test_a_masked_place_that_would_hide_nothing_is_refused(tmp_path: Path, place: str) -> None:
    problem = only_problem(tmp_path, f'{HOST}masked = ["{place}"]\n{AGENT}')
    assert problem.key.startswith("hosts.web1.masked")


def test_what_is_masked_on_a_host_is_secret_there_whoever_logs_in(tmp_path: Path) -> None:
    settings = load(write(tmp_path, HOST + 'masked = ["~/vault/*.pem"]\n' + AGENT))
    facts = facts_of(settings.hosts["web1"], home="/home/deploy")
    assert PathClass.SECRET in classify("/home/deploy/vault/site.pem", facts)


def test_a_policy_file_that_others_may_change_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "", "team.cedar", mode=0o666)
    problem = only_problem(tmp_path, HOST + AGENT + '[policy]\nfiles = ["team.cedar"]\n')
    assert "others may change" in problem.message


def test_an_empty_file_says_what_it_needs(tmp_path: Path) -> None:
    assert {p.message for p in problems_of(tmp_path, "")} == {
        "there is no host",
        "there is no principal, so nobody could call",
    }


def test_a_file_that_is_not_there_or_no_text_or_too_large_is_a_fault(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"a = 1\n\xff")
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (1024 * 1024 + 1))
    for path, message in ((tmp_path / "none.toml", "cannot be read"), (binary, "UTF-8"), (large, "larger")):
        with pytest.raises(ConfigFault) as caught:
            load(path)
        assert message in caught.value.problems[0].message


def test_a_deeply_nested_value_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault):
        load(write(tmp_path, "x = " + "[" * 5_000 + "]" * 5_000))


def test_an_embedded_host_can_be_configured_too(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[hosts.box]\nembedded = true\nlabels = {env = "staging"}\n' + AGENT))
    box = settings.hosts["box"]
    assert box.embedded
    assert box.labels == {"env": "staging"}
    problem = only_problem(tmp_path, '[hosts.box]\nembedded = true\naddress = "a"\n' + AGENT)
    assert problem.key == "hosts.box.address"


def test_the_embedded_default_keeps_its_state_out_of_its_sandbox(tmp_path: Path, home: Path) -> None:
    for settings in (embedded(), embedded(tmp_path / "state")):
        sandbox = settings.hosts["sandbox"]
        assert sandbox.embedded
        assert not settings.state_dir.is_relative_to(Path(sandbox.cwd))
        assert not Path(sandbox.cwd).is_relative_to(settings.state_dir)
        assert str(settings.state_dir) in sandbox.protected
    assert embedded().hosts["sandbox"].cwd == str(home / ".local/share/interlock/sandbox")


def test_a_file_in_the_working_directory_is_never_read(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, HOST + AGENT)
    monkeypatch.chdir(tmp_path)
    assert settings_for().source is None
    own = home / ".config/interlock"
    own.mkdir(parents=True)
    write(own, HOST + AGENT)
    assert settings_for().source == own / "interlock.toml"
    monkeypatch.setenv("INTERLOCK_CONFIG", str(tmp_path / "interlock.toml"))
    assert settings_for().source == tmp_path / "interlock.toml"
    with pytest.raises(ConfigFault):
        settings_for(tmp_path / "none.toml")
