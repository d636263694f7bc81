"""The hosts: the only road to them, over SSH. Nothing outside this room opens a connection."""

from interlock.hosts.pool import SshHosts

__all__ = ["SshHosts"]
