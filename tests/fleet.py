"""A fleet for tests: real OpenSSH hosts on this one machine that share nothing a deployment touches.

Each host has its own disk below `folder`/NAME, its own processes, network and service manager, and a real nginx that
serves /srv/shop/current/public on its own 127.0.0.1:8080. Only root can make one. At the end nothing of it is left.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from fleet_disk import lay_disk, remove_disk
from fleet_host import Host, processes_in

SIZE_MAX = 50
_PROGRAMS = {
    "runit": ("runsvdir", "sv"),
    "supervisor": ("supervisord", "supervisorctl"),
    "systemd": ("systemctl",),
}
_MISSING = [one for one in ("nginx", "nsenter", "unshare", "ip", *sum(_PROGRAMS.values(), ())) if not shutil.which(one)]
needs_fleet = pytest.mark.skipif(
    os.geteuid() != 0 or bool(_MISSING),
    reason=f"a fleet is made by root, with nginx, runit, supervisor, systemd and namespaces; missing: {_MISSING}",
)
SSHD_CONFIG = """HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
LogLevel VERBOSE
UseDNS no
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Fleet:
    """Running hosts, in order."""

    folder: Path
    hosts: tuple[Host, ...]

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts)

    def named(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def left(self) -> list[str]:
        """What is on this machine of all the hosts, running or not: processes and mounts. Empty after the end."""
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.folder) in line]
        known = set().union(*(host.namespaces for host in self.hosts))
        return mounts + list(processes_in(known).values())


@contextmanager
def running_fleet(
    folder: Path, size: int, *, service: str = "runit", disk_bytes: int = 0, images: Path | None = None
) -> Iterator[Fleet]:
    """`size` started hosts, web1 and on, under the manager `service`. `disk_bytes`: of a /srv that can be filled.

    `images`: of the container engine that each host then has.
    """
    if not 0 < size <= SIZE_MAX:
        raise ValueError(f"a fleet has 1 to {SIZE_MAX} hosts")
    keys = folder / "keys"
    keys.mkdir(parents=True)
    client_key = _new_key(keys / "client_key")
    with ExitStack() as stack:
        hosts = []
        for number in range(1, size + 1):
            name = f"web{number}"
            lay_disk(folder / name, name, service, disk_bytes, images)
            stack.callback(remove_disk, folder / name, disk_bytes)
            host = Host(name, folder / name, service, keys, disk_bytes)
            hosts.append(host)
            stack.callback(host.door.close)
            _let_in(host, client_key)
        fleet = Fleet(folder, tuple(hosts))
        # All are stopped before the first disk is removed: the later ones see the earlier ones' disks.
        for host in hosts:
            stack.callback(host.stop)
        for host in hosts:
            host.launch()
        for host in hosts:
            host.wait_ready()
        yield fleet


def toml(fleet: Fleet) -> str:
    """Text of an interlock.toml with these hosts, and one operator for all of them."""
    hosts = [
        f'[hosts.{host.name}]\naddress = "127.0.0.1"\nport = {host.door.port}\nuser = "root"\n'
        f'identities = [{{file = "{host.keys / "client_key"}"}}]\nknown_hosts = "{host.keys / "known_hosts"}"\n'
        f'cwd = "/srv"\nworkspace = ["/srv"]\nlabels = {{env = "test"}}\n'
        for host in fleet
    ]
    return "\n".join([*hosts, '[principals.agent]\nroles = ["operator"]\nhosts = ["*"]\n'])


def _let_in(host: Host, client_key: asyncssh.SSHKey) -> None:
    place = host.folder / "ssh"
    host_key = _new_key(place / "host_key")
    (place / "authorized_keys").write_bytes(client_key.export_public_key())
    (place / "sshd_config").write_text(SSHD_CONFIG)
    with (host.keys / "known_hosts").open("a") as known:
        known.write(f"[127.0.0.1]:{host.door.port} {host_key.export_public_key().decode().strip()}\n")


def _new_key(path: Path) -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key())
    return key
