"""Which places a room must not show: secrets, and unix sockets wherever they lie. It hides nothing itself."""

import glob
import os
import stat
from typing import Any, Dict, List, Optional, Set

from interlock.runner.kernel import Mount, mounts_in_sight
from interlock.runner.layout import lies_in, outermost_places

# Below a home; "~" stands for each home that is not hidden as a whole.
HOME_SECRETS = (
    ".ssh .gnupg .password-store .aws .azure .oci .kube .config/gcloud .config/gh .config/hub .config/glab-cli "
    ".config/doctl .config/hcloud .config/scw .config/op .config/sops .config/rclone .config/containers/auth.json "
    ".config/git/credentials .config/heroku .config/netlify .config/configstore .config/google-chrome "
    ".config/chromium .mozilla .docker/config.json .netrc .pgpass .my.cnf .mylogin.cnf .git-credentials .npmrc "
    ".yarnrc.yml .pypirc .s3cfg .boto .vault-token .terraform.d .terraformrc .age .ansible_vault .databrickscfg "
    ".snowsql .fly .huggingface .cache/huggingface/token .cargo/credentials .cargo/credentials.toml "
    ".gem/credentials .composer/auth.json .m2/settings.xml .gradle/gradle.properties .nuget/NuGet "
    ".local/share/keyrings .local/share/kwalletd .pki .rhosts .Xauthority .bash_history .zsh_history "
    ".python_history .psql_history .mysql_history .rediscli_history .lesshst .viminfo .claude .codex .config/claude "
    ".gemini .local/state/interlock-runs"
).split()
SYSTEM_SECRETS = (
    "/etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/security/opasswd "
    "/etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_dsa_key "
    "/etc/ssl/private /etc/pki/tls/private /etc/pki/private /etc/krb5.keytab /var/lib/sss /etc/sssd/sssd.conf "
    "/etc/kubernetes /var/lib/kubelet /etc/rancher /var/lib/rancher/k3s/server /etc/wireguard /etc/openvpn "
    "/etc/letsencrypt/live /etc/letsencrypt/archive /etc/letsencrypt/accounts /etc/letsencrypt/keys "
    "/etc/NetworkManager/system-connections /etc/netplan /etc/wpa_supplicant /etc/ppp/chap-secrets "
    "/etc/ppp/pap-secrets /etc/ipsec.secrets /etc/mysql/debian.cnf /etc/docker/key.json /var/lib/docker/swarm "
    "/var/lib/docker/containers /etc/credstore /etc/credstore.encrypted /var/lib/systemd/credential.secret "
    "/var/backups/shadow.bak /var/backups/gshadow.bak /var/lib/cloud/instances /etc/vault.d /etc/consul.d "
    "/etc/nomad.d /etc/salt/pki /etc/puppetlabs/puppet/ssl /var/lib/private /etc/postfix/sasl_passwd "
    "/etc/exim4/passwd.client /var/lib/AccountsService/users /var/lib/interlock-runs"
).split()
LOGIN_UID_MIN = 1000
LOGIN_UID_MAX = 60000
PLACES_MAX = 2000
ENTRIES_BESIDE_MAX = 1000
PROCESSES_READ_MAX = 4096
# A container's root seen from its host: its sockets and secrets are not this call's business either.
CONTAINER_ROOTS = ("/var/lib/docker/", "/var/lib/containerd/", "/var/lib/containers/", "/var/lib/kubelet/", "/run/")


class MaskFault(Exception):
    """What has to be hidden is more than can be hidden."""


def secret_places(home: str, order: Dict[str, Any], mounts: Optional[List[Mount]] = None) -> List[str]:
    """What exists and must be empty inside, least list: a place in it stands for all below.

    A place that leads to the working directory, the workspace or a declared path is not hidden as a whole, but what
    lies beside is; what the order shows is left alone; what it protects is hidden in any case.
    """
    shown = [_plain(path, home) for path in order.get("shown", ())]
    kept = _needed(order) + shown
    found: Set[str] = set()
    for place in _candidates(home, order, mounts_in_sight() if mounts is None else mounts):
        if not any(lies_in(place, path) for path in shown):
            found.update(_without(place, [path for path in kept if lies_in(path, place)]))
    found.update(place for path in order.get("protected", ()) for place in _matches(path, home))
    places = outermost_places(found)
    if len(places) > PLACES_MAX:
        raise MaskFault("%d places would have to be hidden, more than %d" % (len(places), PLACES_MAX))
    return places


def _needed(order: Dict[str, Any]) -> List[str]:
    paths = [order.get("cwd") or "", *order.get("workspace", ()), *order.get("writes", ()), *order.get("deletes", ())]
    named = {path for path in paths if path.startswith("/")}
    return sorted(named | {os.path.realpath(path) for path in named})


def _candidates(home: str, order: Dict[str, Any], mounts: List[Mount]) -> Set[str]:
    own = os.path.realpath(home) if home.startswith("/") else ""
    others = {path for path in login_homes() if not (own and lies_in(own, path))}
    found = others | {path for path in SYSTEM_SECRETS if os.access(path, os.F_OK)}
    found.update(mount.point for mount in mounts if _is_container_root(mount))
    for pattern in order.get("masked", ()):
        found.update(_matches(pattern, home))
    for place in ({own} if own else set()) | _entered(others, order):
        found.update(_home_secrets(place))
    return {_real(place) for place in found if _reachable(place)}


def _home_secrets(home: str) -> List[str]:
    try:
        names = set(os.listdir(home))
    except OSError:
        return []
    return [home.rstrip("/") + "/" + path for path in HOME_SECRETS if path.split("/", 1)[0] in names]


def login_homes() -> Set[str]:
    """Homes of people, as /etc/passwd and /home name them, and root's."""
    found = {"/root"}
    try:
        found.update("/home/" + name for name in os.listdir("/home"))
        with open("/etc/passwd", "rb") as table:
            for line in table:
                fields = line.rstrip(b"\n").split(b":")
                if len(fields) > 6 and fields[2].isdigit() and LOGIN_UID_MIN <= int(fields[2]) <= LOGIN_UID_MAX:
                    found.add(os.fsdecode(fields[5]))
    except OSError:
        return found
    return {path for path in found if path == "/root" or (path.count("/") > 1 and os.path.isdir(path))}


def _entered(homes: Set[str], order: Dict[str, Any]) -> Set[str]:
    """Other homes that the call works in: they are open, their credentials are not."""
    inside = _needed(order) + list(order.get("shown", ()))
    return {place for place in homes if any(lies_in(path, place) for path in inside)}


def _is_container_root(mount: Mount) -> bool:
    return mount.fstype == "overlay" and mount.point.startswith(CONTAINER_ROOTS)


def _without(place: str, kept: List[str]) -> Set[str]:
    """The place, or, where something in it is kept, the other entries on the way to that."""
    if not kept:
        return {place}
    if place in kept or not os.path.isdir(place):
        return set()
    names = sorted(os.listdir(place))
    if len(names) > ENTRIES_BESIDE_MAX:
        raise MaskFault("%s has %d entries beside what the call needs; show it as a whole" % (place, len(names)))
    found: Set[str] = set()
    for name in names:
        path = os.path.join(place, name)
        if not os.path.islink(path):  # a link opens nothing that its target does not
            found |= _without(path, [other for other in kept if lies_in(other, path)])
    return found


def _plain(path: str, home: str) -> str:
    return os.path.realpath(home + path[1:] if path == "~" or path.startswith("~/") else path)


def _matches(pattern: str, home: str) -> Set[str]:
    path = home + pattern[1:] if pattern == "~" or pattern.startswith("~/") else pattern
    if not path.startswith("/"):
        return set()
    found = glob.glob(path) if set("*?[") & set(path) else [path]
    return {os.path.realpath(place) for place in found if os.path.exists(place)}


def _real(place: str) -> str:
    """Where a place that exists really lies: the kernel's own answer, which costs less than a walk along its links."""
    try:
        held = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return os.path.realpath(place)
    try:
        return os.readlink("/proc/self/fd/%d" % held)
    finally:
        os.close(held)


def _reachable(place: str) -> bool:
    """What this user cannot open anyway needs no mask, and may not even be mounted over."""
    return os.access(place, os.X_OK if os.path.isdir(place) else os.R_OK)


def socket_places() -> List[str]:
    """Every path that a unix socket of this network namespace is bound to, as far as it exists and is a socket."""
    with open("/proc/net/unix", "rb") as table:
        lines = [os.fsdecode(line).split(None, 7) for line in table.read().splitlines()[1:]]
    names = {fields[7] for fields in lines if len(fields) == 8 and not fields[7].startswith("@")}
    found = {name for name in names if name.startswith("/")}
    relative = names - found
    if relative:  # bound by a relative name: where its owner stands is where it lies
        found |= {os.path.join(where, name) for where in _working_directories() for name in relative}
    return sorted({os.path.realpath(place) for place in found if _is_socket(place)})


def _working_directories() -> Set[str]:
    found: Set[str] = set()
    for pid in [name for name in os.listdir("/proc") if name.isdigit()][:PROCESSES_READ_MAX]:
        try:
            found.add(os.readlink("/proc/%s/cwd" % pid))
        except OSError:  # ended, or another user's
            continue
    return found


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
