"""Path classes: every name of a grave place is that place, and a tree is as grave as what lies in it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_policies.facts import HostFacts
from interlock_policies.paths import PathClass, classify, is_within, normalised, reach
from interlock_policies.places import KNOWN

HOST = HostFacts(
    "h",
    home="/home/agent",
    cwd="/srv/app",
    workspace=("/srv/app", "/home/agent/work/"),
    protected=("/var/lib/interlock", "/srv/app/.interlock"),
)
GRAVE = {
    PathClass.ROOT,
    PathClass.SYSTEM,
    PathClass.BLOCK_DEVICE,
    PathClass.IDENTITY,
    PathClass.AUDIT,
    PathClass.INTERLOCK,
}


def test_a_place_that_is_masked_on_a_host_holds_secrets_there_and_so_does_all_above_and_below_it() -> None:
    host = HostFacts("h", workspace=("/srv/app",), masked=("/srv/vault/", "/srv/app/keys"))
    for path in ("/srv/vault", "/srv/vault/a/b", "/srv/app/keys/x"):
        assert PathClass.SECRET in classify(path, host)
    assert PathClass.SECRET not in classify("/srv/vaults", host)
    assert PathClass.SECRET in reach("/srv", host, recursive=True).touches
    assert PathClass.SECRET not in reach("/opt", host, recursive=True).touches


def test_a_masked_place_may_have_wildcards_and_still_holds_what_is_above_and_below_it() -> None:
    host = HostFacts("h", workspace=("/srv/app",), masked=("/srv/*/keys", "/opt/v[0-9]/*.pem"))
    for path in ("/srv/app/keys", "/srv/app/keys/a/b", "/opt/v1/site.pem"):
        assert PathClass.SECRET in classify(path, host), path
    for path in ("/srv/app", "/srv/keys/x", "/srv/a/b/keys/x", "/opt/vx/site.txt"):
        assert PathClass.SECRET not in classify(path, host), path
    for path in ("/", "/srv", "/srv/app", "/srv/*", "/opt/v1"):
        assert PathClass.SECRET in reach(path, host, recursive=True).touches, path
    assert PathClass.SECRET not in reach("/mnt/app", host, recursive=True).touches
    assert PathClass.SECRET in reach("/srv", host, exact=False).touches


@pytest.mark.parametrize(
    ("path", "classes"),
    [
        ("/", "root"),
        ("relative/path", "root"),
        ("", "root"),
        ("/etc\0/x", "root"),
        ("/etc", "top config"),
        ("/etc/nginx/nginx.conf", "config"),
        ("/etc/passwd", "identity"),
        ("/etc/shadow", "identity secret"),
        ("/etc/shadow.bak", "config identity secret"),
        ("/etc/sudoers.d/agent", "identity"),
        ("/etc/cron.d/job", "identity"),
        ("/etc/ssh/sshd_config", "identity"),
        ("/etc/ssl/private/site.pem", "identity secret"),
        ("/usr/bin/env", "system"),
        ("/usr/local/bin/deploy", "config"),
        ("/usr/local", "top config"),
        ("/boot/vmlinuz", "boot system"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "system"),
        ("/var/lib/dpkg/status", "system"),
        ("/run/docker.sock", "system"),
        ("/dev/sda", "block_device"),
        ("/dev/nvme0n1p2", "block_device"),
        ("/dev/mapper/vg-root", "block_device"),
        ("/dev/mem", "block_device"),
        ("/proc/sysrq-trigger", "block_device"),
        ("/dev/null", "sink"),
        ("/dev/ttyS0", "system"),
        ("/dev/shm/x", "scratch"),
        ("/proc/1/environ", "pseudo secret"),
        ("/proc/self/root/etc/shadow", "identity pseudo secret"),
        ("/proc/self/cwd/x", "pseudo root"),
        ("/sys/kernel/x", "pseudo"),
        ("/var/log/auth.log", "audit"),
        ("/var/log/auth.log.1", "audit data"),
        ("/var/log/journal/a/b", "audit"),
        ("/var/log/nginx/access.log", "data"),
        ("/var/lib/postgresql/x", "data"),
        ("/srv/other/x", "data"),
        ("/tmp/x", "scratch"),
        ("/tmp", "scratch top"),
        ("/srv/app/x", "workspace"),
        ("/srv/app", "top workspace workspace_root"),
        ("/srv/app/.env", "secret workspace"),
        ("/srv/app/.env.example", "workspace"),
        ("/srv/app/.ssh/authorized_keys", "data identity"),
        ("/srv/app/.interlock/x", "data interlock"),
        ("/srv/application", "data"),
        ("/home/agent/work/x", "workspace"),
        ("/home/agent", "home top"),
        ("/home/agent/notes", "home"),
        ("/home/agent/.bashrc", "home identity"),
        ("/home/agent/.ssh/id_ed25519", "home identity secret"),
        ("/home/agent/.ssh/known_hosts", "home identity"),
        ("/home/agent/.aws/credentials", "home secret"),
        ("/root/.kube/config", "home secret"),
        ("/var/lib/interlock/store.db", "data interlock"),
        ("/unheard-of", "other"),
    ],
)
def test_a_path_is_what_it_is(path: str, classes: str) -> None:
    assert sorted(classify(path, HOST)) == sorted(classes.split())


def tricks(path: str) -> st.SearchStrategy[str]:
    """Other spellings of the same absolute path."""
    step = st.sampled_from(["/", "//", "/./", "/x/../", "/./././", "///x/..//", "/x/y/../../"])
    parts = path.strip("/").split("/")
    return st.tuples(*(step for _ in parts), st.sampled_from(["", "/", "/.", "/x/..", "//"])).map(
        lambda steps: "".join(a + b for a, b in zip(steps, parts, strict=False)) + steps[-1]
    )


@settings(deadline=None)
@given(
    st.sampled_from([*KNOWN, "/srv/app/x", "/var/lib/interlock/x", "/home/agent/.ssh/id_rsa"]).flatmap(
        lambda path: st.tuples(st.just(path), tricks(path))
    )
)
def test_no_spelling_of_a_path_changes_its_class(pair: tuple[str, str]) -> None:
    path, spelled = pair
    assert normalised(spelled) == path
    assert classify(spelled, HOST) == classify(path, HOST)


@settings(deadline=None)
@given(st.text(alphabet="/.abc\0\n ", max_size=40))
def test_every_text_has_a_class_and_normalising_twice_changes_nothing(text: str) -> None:
    assert classify(text, HOST)
    assert normalised(normalised(text)) == normalised(text)
    assert ".." not in normalised(text).split("/")


@settings(deadline=None)
@given(st.sampled_from([*KNOWN, "/var/lib/interlock", "/home/agent/.ssh/id_rsa"]), st.booleans())
def test_a_tree_is_at_least_as_grave_as_everything_known_below_it(place: str, exact: bool) -> None:
    grave = classify(place, HOST) & GRAVE
    above = place
    while above != "/":
        above = above.rpartition("/")[0] or "/"
        assert grave <= reach(above, HOST, recursive=True, exact=exact).touches
        assert grave <= reach(above, HOST, exact=False).touches


def test_a_glob_in_the_root_is_as_bad_as_the_root() -> None:
    assert PathClass.ROOT in reach("/", HOST, exact=False).own
    assert reach("/", HOST, recursive=True).touches <= reach("/", HOST, exact=False).touches | {PathClass.ROOT}


def test_a_glob_in_scratch_is_not_scratch_itself() -> None:
    assert reach("/tmp", HOST, recursive=True, exact=False).touches == {PathClass.SCRATCH}
    sweep = reach("/srv/app", HOST, recursive=True, exact=False)
    assert sweep.own == {PathClass.WORKSPACE, PathClass.WORKSPACE_ROOT}


def test_a_workspace_that_is_the_whole_disk_is_none() -> None:
    host = HostFacts("h", workspace=("/",))
    assert classify("/opt/x", host) == {PathClass.DATA}


@pytest.mark.parametrize(
    ("path", "tree", "within"),
    [("/a/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("/a", "/", True), ("/a", "", False)],
)
def test_within_counts_whole_components(path: str, tree: str, within: bool) -> None:
    assert is_within(path, tree) is within
