"""The known places of a Linux host and their classes: data for `paths`, nothing else.

`KNOWN` maps a place to the classes of itself and of all below it; the deepest place above a path wins. `NAMES` holds
patterns over whole paths for what is grave wherever it lies. Classes are the values of `paths.PathClass`.
"""

from __future__ import annotations

import re


def words(text: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(text.split())


def _places(classes: str, places: str) -> dict[str, tuple[str, ...]]:
    return {place: tuple(classes.split()) for place in places.split()}


# Directories that are never deleted or rewritten as a whole.
TOP = words(
    "/bin /boot /dev /etc /home /lib /lib32 /lib64 /libx32 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr"
    " /usr/bin /usr/lib /usr/lib64 /usr/local /usr/local/bin /usr/local/lib /usr/local/sbin /usr/sbin /usr/share /var"
    " /var/backups /var/cache /var/lib /var/local /var/log /var/mail /var/opt /var/run /var/spool /var/tmp /var/www"
)


KNOWN: dict[str, tuple[str, ...]] = {
    **_places(
        "system",
        "/usr /bin /sbin /lib /lib32 /lib64 /libx32 /dev /lost+found /snap /nix /ostree /sysroot",
    ),
    **_places(
        "system boot",
        "/boot /efi /vmlinuz /initrd.img /vmlinuz.old /initrd.img.old",
    ),
    **_places(
        "system",
        "/var/lib/dpkg /var/lib/rpm /var/lib/apt /var/lib/pacman /var/lib/snapd /var/lib/dnf /lib/apk /run/systemd",
    ),
    **_places(
        "system",
        "/run/docker.sock /var/run/docker.sock /run/containerd /run/podman/podman.sock /run/crio",
    ),
    **_places(
        "system",
        "/etc/ld.so.preload /etc/ld.so.conf /etc/ld.so.conf.d /etc/fstab /etc/crypttab /etc/inittab /etc/mtab",
    ),
    **_places(
        "config",
        "/etc /usr/local /usr/src /opt/etc",
    ),
    **_places(
        "data",
        "/var /srv /opt /mnt /media /run /data",
    ),
    **_places(
        "scratch",
        "/tmp /var/tmp /dev/shm",  # noqa: S108 - named as places of a host, never used
    ),
    **_places(
        "pseudo",
        "/proc /sys",
    ),
    **_places(
        "block_device",
        "/dev/mem /dev/kmem /dev/port /dev/mapper /dev/disk /dev/block /dev/bus /dev/raw /proc/kcore"
        " /proc/sysrq-trigger",
    ),
    **_places(
        "sink",
        "/dev/null /dev/zero /dev/full /dev/tty /dev/stdin /dev/stdout /dev/stderr /dev/fd /dev/pts"
        " /dev/random /dev/urandom",
    ),
    **_places(
        "identity",
        "/etc/passwd /etc/passwd- /etc/group /etc/group- /etc/subuid /etc/subgid /etc/sudoers /etc/sudoers.d"
        " /etc/doas.conf /etc/pam.d /etc/pam.conf /etc/security /etc/ssh /etc/nsswitch.conf /etc/login.defs"
        " /etc/shells /etc/securetty /etc/polkit-1 /etc/sssd /etc/krb5.conf /etc/ldap /etc/openldap"
        " /etc/ca-certificates /etc/ssl/certs /etc/crontab /etc/cron.d /etc/cron.hourly /etc/cron.daily"
        " /etc/cron.weekly /etc/cron.monthly /etc/anacrontab /etc/at.allow /etc/at.deny /etc/cron.allow"
        " /etc/cron.deny /var/spool/cron /var/spool/at /var/spool/atjobs /etc/profile /etc/profile.d"
        " /etc/bash.bashrc /etc/bashrc /etc/environment /etc/zsh /etc/zshrc /etc/zshenv /etc/zprofile"
        " /etc/csh.cshrc /etc/csh.login /etc/fish /etc/rc.local /etc/init.d /etc/rc.d /etc/skel"
        " /etc/hosts.allow /etc/hosts.deny /etc/modprobe.d /etc/modules /etc/modules-load.d /etc/udev/rules.d"
        " /etc/selinux /etc/apparmor.d /etc/machine-id",
    ),
    **_places(
        "identity secret",
        "/etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/krb5.keytab /etc/security/opasswd"
        " /etc/ssl/private /etc/pki/tls/private",
    ),
    **_places(
        "secret",
        "/etc/letsencrypt/live /etc/letsencrypt/archive /etc/letsencrypt/keys /etc/kubernetes/admin.conf"
        " /etc/kubernetes/pki /etc/rancher/k3s/k3s.yaml /run/secrets /var/run/secrets /etc/wireguard"
        " /etc/openvpn /etc/ipsec.secrets /etc/NetworkManager/system-connections /var/lib/docker/swarm"
        " /etc/docker/key.json /etc/mysql/debian.cnf /etc/vault.d /etc/consul.d /etc/machine-secret"
        " /var/backups/shadow.bak",
    ),
    **_places(
        "audit",
        "/var/log/audit /var/log/journal /run/log/journal /var/log/auth.log /var/log/secure /var/log/wtmp"
        " /var/log/btmp /var/log/lastlog /var/log/faillog /var/log/tallylog /var/log/sudo.log /var/log/sudo-io"
        " /var/log/syslog /var/log/messages /var/log/kern.log /var/run/utmp /run/utmp /etc/audit"
        " /etc/rsyslog.conf /etc/rsyslog.d /etc/systemd/journald.conf /etc/logrotate.conf",
    ),
}

_START_UP = (
    r"bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zshenv|zprofile|zlogin|zlogout|kshrc|cshrc"
    r"|tcshrc|login|xprofile|xinitrc|xsessionrc|inputrc|pam_environment|rhosts|shosts|forward"
)
_KEY_FILE = r"id_(?:rsa|dsa|ecdsa|ed25519|ecdsa_sk|ed25519_sk|xmss)"

# Every pattern is anchored or holds no nested repetition: linear in the path's length.
NAMES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), tuple(classes.split()))
    for pattern, classes in (
        (
            r"^/dev/(?:sd[a-z]|hd[a-z]|vd[a-z]|xvd[a-z]|nvme|mmcblk|dm-|md|loop|nbd|zd|zram|sr\d|st\d|sg\d|ram\d|pmem|drbd|bcache|rbd)",
            "block_device",
        ),
        (r"^/sys/(?:block|class/block|dev/block)/[^/]+/device/delete$", "block_device"),
        (r"^/var/log/(?:auth\.log|secure|wtmp|btmp|lastlog|syslog|messages|kern\.log|audit)[-.][^/]*$", "audit"),
        (r"/\.ssh(?:/|$)", "identity"),
        (r"/\.ssh/(?!(?:known_hosts(?:\.old)?|config|environment|rc|authorized_keys2?|[^/]*\.pub)$).", "secret"),
        (r"/authorized_keys2?$", "identity"),
        (r"/\.git$|/\.git/(?:.+/)?(?:hooks(?:/|$)|config(?:\.worktree|\.lock)?$|info/attributes$)", "repository"),
        (rf"/\.(?:{_START_UP})$", "identity"),
        (r"/\.config/(?:autostart|systemd/user|fish|environment\.d)(?:/|$)", "identity"),
        (r"/systemd/(?:system|user)/[^/]+\.(?:service|timer|socket|path)(?:\.d)?(?:/|$)", "config"),
        (rf"/{_KEY_FILE}$", "identity secret"),
        (r"/\.env(?:\.(?!example$|sample$|template$|dist$|defaults$)[^/]*)?$", "secret"),
        (r"/[^/]+[_-]key$", "secret"),
        (r"/[^/]*[._-]key\.pem$|/privkey\d*\.pem$|\.(?:key|p12|pfx|jks|keystore|kdbx|ppk|ovpn|keytab)$", "secret"),
        (
            r"/\.(?:aws/(?:credentials|cli/cache|sso/cache)|azure|config/gcloud|config/gh/hosts\.yml|docker/config\.json|kube/(?:config|cache))(?:/|$)",
            "secret",
        ),
        (
            r"/\.(?:netrc|pgpass|my\.cnf|git-credentials|npmrc|pypirc|vault-token|terraform\.d/credentials[^/]*|gnupg|password-store|htpasswd)(?:/|$)",
            "secret",
        ),
        (
            r"/\.(?:bash_history|zsh_history|psql_history|mysql_history|python_history|rediscli_history|sh_history)$",
            "secret",
        ),
        (r"^/proc/[^/]+/(?:task/[^/]+/)?(?:environ|mem|pagemap)$", "secret"),
        (
            r"/(?:credentials|secrets?)\.(?:json|ya?ml|toml|ini|env|txt)$|/application_default_credentials\.json$|/service[-_]account[^/]*\.json$",
            "secret",
        ),
        (r"^/etc/(?:shadow|gshadow|passwd|group)[.~-][^/]*$", "identity secret"),
    )
)

# Directories in which something of these classes is to be expected: what is read or written in them without a name,
# or as a whole, may be that.
HOLDING: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), tuple(classes.split()))
    for pattern, classes in (
        (r"/\.(?:ssh|aws|azure|kube|docker|gnupg|password-store|terraform\.d|config|config/(?:gcloud|gh))$", "secret"),
        (r"^/proc(?:/(?:\d+|self|thread-self)(?:/task(?:/[^/]+)?)?)?$", "secret"),
        (r"/\.git(?:/(?:modules(?:/.+)?|worktrees(?:/[^/]+)?|info))?$", "repository"),
    )
)
