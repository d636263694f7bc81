"""Hosts from an OpenSSH configuration and from Ansible inventories arrive as ssh and Ansible would see them."""

from pathlib import Path

import pytest

from configs import AGENT, only_problem, problems_of, write
from interlock.config import load
from interlock.settings import HostSettings, SecretRef

INVENTORY = '[inventory]\n{kind} = "inventory"\n'


def hosts_of(folder: Path, kind: str, text: str, more: str = "", name: str = "inventory") -> dict[str, HostSettings]:
    write(folder, text, name)
    toml = f'[inventory]\n{kind} = "{name}"\n{more}' + AGENT
    return dict(load(write(folder, toml)).hosts)


def test_the_first_value_wins_as_ssh_has_it(tmp_path: Path) -> None:
    write(tmp_path, "k", "id_web")
    text = f"""
# a comment
Host web1 web2
    HostName %h.example.com
    Port 2222
    IdentityFile {tmp_path}/id_%n
    IdentityFile {tmp_path}/id_web
Host web* !web2
    User=deploy
    Port 1
    ProxyJump gate
Host gate
    HostName 192.0.2.9
    User ops
Host *
    User everybody
    StrictHostKeyChecking no
    UserKnownHostsFile {tmp_path}/known
"""
    hosts = hosts_of(tmp_path, "openssh", text)
    assert sorted(hosts) == ["gate", "web1", "web2"]
    web1, web2 = hosts["web1"], hosts["web2"]
    assert (web1.address, web1.port, web1.user, web1.jump) == ("web1.example.com", 2222, "deploy", "gate")
    assert (web2.user, web2.jump) == ("everybody", "")
    assert web1.identities == (SecretRef("file", str(tmp_path / "id_web")),)
    assert web1.known_hosts == tmp_path / "known"


def test_patterns_choose_and_labels_are_given_by_pattern(tmp_path: Path) -> None:
    text = (
        "Host web1 web2 db1\n User me\nHost *.internal\n User other\nHost gate\n Port 2200\nHost *\n ProxyJump gate\n"
    )
    more = (
        'hosts = ["web*", "!web2", "x.internal"]\n[inventory.labels]\n"web1" = {env="prod"}\n"*" = {env="dev", a="b"}\n'
    )
    hosts = hosts_of(tmp_path, "openssh", text.replace("Host gate\n", "Host gate\n ProxyJump none\n"), more)
    assert sorted(hosts) == ["web1", "x.internal"]
    assert hosts["web1"].labels == {"env": "prod", "a": "b"}
    assert hosts["x.internal"].user == "other"
    assert hosts["web1"].jump == "gate:2200"


def test_an_include_is_read_one_level_deep(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    write(tmp_path / "conf.d", "Host inner\n User a\n", "one.conf")
    hosts = hosts_of(tmp_path, "openssh", "Include conf.d/*.conf\nHost outer\n User b\n")
    assert {name: host.user for name, host in hosts.items()} == {"inner": "a", "outer": "b"}
    write(tmp_path / "conf.d", "Include one.conf\n", "two.conf")
    problem = only_problem(tmp_path, INVENTORY.format(kind="openssh") + AGENT)
    assert (problem.file, problem.line) == (str(tmp_path / "conf.d/two.conf"), 1)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("Host a\n User x\nMatch user root\n Port 1\n", 3, "Match"),
        ("Host a\n ProxyCommand nc %h %p\n", 2, "not supported"),
        ("Host a\n HostKeyAlias b\n", 2, "not supported"),
        ("Host a\n ProxyJump b,c\n", 2, "more than one jump host"),
        ("Host a\n Port many\n", 2, "port"),
        ("Host a\n User\n", 2, "no option"),
        ("Host a\n User bad;user\n", 1, "cannot be used"),
        ("Host a\n IdentityFile /nowhere/at/all\n", 2, "no key file"),
    ],
)
def test_what_ssh_would_do_otherwise_is_said_and_not_ignored(tmp_path: Path, text: str, line: int, what: str) -> None:
    write(tmp_path, text, "inventory")
    problem = only_problem(tmp_path, INVENTORY.format(kind="openssh") + AGENT)
    assert (problem.file, problem.line) == (str(tmp_path / "inventory"), line)
    assert what in problem.message


INI = """
lonely ansible_host=192.0.2.1
[web]
web[01:03].example.com ansible_port=2222
[db]
db-[a:b]:2200 ansible_user="dba" env=special
[prod:children]
web
db
[prod:vars]
env=prod
db_password=hunter2
[all:vars]
ansible_user=deploy
ansible_ssh_common_args='-o StrictHostKeyChecking=no -o ProxyJump=ops@gate.example:22'
ansible_become=yes
"""

YAML = """
all:
  vars: {ansible_user: deploy, ansible_become: true, ansible_ssh_common_args: "-J ops@gate.example:22"}
  hosts:
    lonely: {ansible_host: 192.0.2.1}
  children:
    prod:
      vars: {env: prod, db_password: hunter2}
      children:
        web: {hosts: {"web[01:03].example.com": {ansible_port: 2222}}}
        db:
          hosts:
            db-[a:b]: {ansible_port: 2200, ansible_user: dba, env: special}
"""


@pytest.mark.parametrize(("text", "name"), [(INI, "inventory"), (YAML, "inventory.yml")])
def test_an_ansible_inventory_gives_hosts_groups_and_labels(tmp_path: Path, text: str, name: str) -> None:
    hosts = hosts_of(tmp_path, "ansible", text, name=name)
    assert sorted(hosts) == ["db-a", "db-b", "lonely", "web01.example.com", "web02.example.com", "web03.example.com"]
    web, db = hosts["web02.example.com"], hosts["db-a"]
    assert (web.port, web.user, web.become, web.jump) == (2222, "deploy", "root", "ops@gate.example:22")
    assert web.groups == {"web", "prod"}
    assert web.labels == {"env": "prod"}
    assert (db.port, db.user, db.labels) == (2200, "dba", {"env": "special"})
    assert hosts["lonely"].address == "192.0.2.1"
    assert "hunter2" not in repr(hosts)


def test_a_group_named_after_an_environment_gives_the_label_where_it_is_the_only_one(tmp_path: Path) -> None:
    hosts = hosts_of(tmp_path, "ansible", "[production]\na\nb\n[staging]\nb\nc\n")
    assert [hosts[name].labels for name in "abc"] == [{"env": "prod"}, {}, {"env": "staging"}]


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ("a ansible_password=hunter2\n", "ansible_password", "passwords are refused"),
        ("a\n[all:vars]\nansible_become_pass=hunter2\n", "ansible_become_pass", "passwords are refused"),
        ("a ansible_connection=local\n", "ansible_connection", "not reached over SSH"),
        ("a ansible_host={{hunter2}}\n", "ansible_host", "templates"),
        ("a ansible_become=yes ansible_become_method=su\n", "ansible_become_method", "only sudo"),
        ("a ansible_ssh_common_args='-o ProxyCommand=hunter2'\n", "ansible_ssh_common_args", "not supported"),
        ("a ansible_ssh_private_key_file=none\n", "ansible_ssh_private_key_file", "no such key file"),
        ("a[1:9999999]\n", "", "cannot be used"),
        ("a[1:99999]\n", "", "too large"),
        ("a hunter2\n", "", "no name=value"),
    ],
)
def test_what_interlock_does_not_do_is_refused_with_a_reason_and_no_value(
    tmp_path: Path, text: str, key: str, what: str
) -> None:
    write(tmp_path, text, "inventory")
    problem = only_problem(tmp_path, INVENTORY.format(kind="ansible") + AGENT)
    assert (problem.key, problem.file) == (key, str(tmp_path / "inventory"))
    assert what in problem.message
    assert "hunter2" not in str(problem)


def test_a_vault_a_tag_and_a_bomb_in_yaml_are_problems(tmp_path: Path) -> None:
    write(tmp_path, "all:\n  hosts:\n    a: {ansible_host: !vault hunter2}\n", "inventory.yml")
    toml = '[inventory]\nansible = "inventory.yml"\n' + AGENT
    assert only_problem(tmp_path, toml).line == 3
    write(tmp_path, "all:\n  hosts:\n    a: [\n", "inventory.yml")
    assert "not YAML" in problems_of(tmp_path, toml)[0].message
    rows = ["a0: &a0 {hosts: {x: {}}}"]
    rows += [
        f"a{n}: &a{n} {{children: {{" + ", ".join(f"c{i}: *a{n - 1}" for i in range(9)) + "}}" for n in range(1, 9)
    ]
    write(tmp_path, "\n".join(rows), "inventory.yml")
    assert any("too large" in problem.message for problem in problems_of(tmp_path, toml))


def test_the_file_itself_wins_over_ansible_and_that_over_openssh(tmp_path: Path) -> None:
    write(tmp_path, "Host web1\n HostName ssh.example\n User ssh\n Port 1\n", "config")
    write(tmp_path, "[web]\nweb1 ansible_user=ansible ansible_port=2\n", "hosts.ini")
    toml = '[hosts.web1]\nport = 3\nlabels = {env = "prod"}\n[inventory]\nopenssh = "config"\nansible = ["hosts.ini"]\n'
    web1 = load(write(tmp_path, toml + AGENT)).hosts["web1"]
    assert (web1.address, web1.user, web1.port) == ("ssh.example", "ansible", 3)
    assert (web1.groups, web1.labels) == ({"web"}, {"env": "prod"})
