"""The disk of a host of a fleet, and the program that puts the host together from it. It starts nothing."""

import subprocess
from pathlib import Path

from fleet_engine import START, lay_engine

HTTP_PORT = 8080
RUNS = "/var/lib/interlock-runs"
# What a deployment, a service or a login touches, and the folder of the host that lies there instead.
PLACES = {
    "/srv": "srv", "/etc/service": "service", "/etc/supervisor": "supervisor", "/etc/nginx": "nginx",
    "/etc/ssh": "ssh", "/var/log": "log",
    "/etc/containers": "containers", RUNS: "runs", "/root": "home", "/var/tmp": "vartmp", "/tmp": "tmp",
}  # fmt: skip
MODES = {"runs": 0o700, "home": 0o700, "tmp": 0o1777, "vartmp": 0o1777}
MANAGERS = {
    "runit": "runsvdir -P /etc/service",
    "supervisor": "supervisord -n -c /etc/supervisor/supervisord.conf",
    "systemd": "unshare --mount --propagation private --pid --fork --uts --cgroup /bin/bash /etc/nginx/systemd.sh",
}
# systemd has to be the first process of its own, with cgroups of its own. It starts our target alone: nothing of what a
# distribution starts at a boot, which would write to this machine's disk.
SYSTEMD = """set -e
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/systemd /run/systemd/system
if mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd; then
  how="systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
else
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
cp /etc/nginx/fleet.target /etc/nginx/nginx.service /run/systemd/system/
export container=fleet
exec /lib/systemd/systemd --system --unit=fleet.target --log-target=console $how
"""
TARGET = "[Unit]\nDefaultDependencies=no\nWants=nginx.service\n"
UNIT = """[Unit]
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
Type=exec
ExecStart=/usr/sbin/nginx
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
StandardOutput=null
StandardError=null
"""
NGINX = f"""daemon off; worker_processes 1; pid /run/nginx.pid; error_log /var/log/nginx/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path /run/nginx/1; proxy_temp_path /run/nginx/2; fastcgi_temp_path /run/nginx/3;
  uwsgi_temp_path /run/nginx/4; scgi_temp_path /run/nginx/5;
  server {{ listen 127.0.0.1:{HTTP_PORT}; root /srv/shop/current/public; index index.html; }}
}}
"""
SUPERVISORD = """[unix_http_server]
file=/run/supervisor.sock
[supervisord]
logfile=/var/log/supervisor/supervisord.log
pidfile=/run/supervisord.pid
childlogdir=/var/log/supervisor
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix:///run/supervisor.sock
[program:nginx]
command=/usr/sbin/nginx
autorestart=true
startsecs=1
"""
# The first process: it puts the host together, reaps whoever has no parent, and ends when its harness does. The folder
# is seen through /mnt, because one of the mounts may cover the way to it.
FIRST = """set -e
exec 2>>{folder}/first.log
hostname {name}
mount --rbind {folder} /mnt
mount -t proc proc /proc
mount --bind /mnt/boot_id /proc/sys/kernel/random/boot_id
mkdir -p {runs}
for pair in {binds}; do
  if [ -d "${{pair%=*}}" ]; then mount --bind "/mnt/${{pair#*=}}" "${{pair%=*}}"; fi
done
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /run/sshd /run/nginx /run/lock
umount -l /mnt
ip link set lo up
{engine}cd /
{manager} </dev/null >>/var/log/manager.log 2>&1 &
echo ready
exec >/dev/null
read -r _
"""


def lay_disk(folder: Path, name: str, service: str, disk_bytes: int, images: Path | None = None) -> None:
    """All of it, as it is before the host starts for the first time. `disk_bytes`: 0 = /srv is a folder like others.

    `images`: what its container engine finds in its registry; without them it has no engine.
    """
    for place in PLACES.values():
        (folder / place).mkdir(parents=True)
        (folder / place).chmod(MODES.get(place, 0o755))
    for log in ("nginx", "supervisor"):
        (folder / "log" / log).mkdir()
    (folder / "nginx" / "nginx.conf").write_text(NGINX)
    (folder / "supervisor" / "supervisord.conf").write_text(SUPERVISORD)
    if service == "systemd":
        for file, text in (("systemd.sh", SYSTEMD), ("fleet.target", TARGET), ("nginx.service", UNIT)):
            (folder / "nginx" / file).write_text(text)
    if service == "runit":
        program = folder / "service" / "nginx" / "run"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\nexec /usr/sbin/nginx 2>&1\n")
        program.chmod(0o755)
    binds = " ".join(f"{place}={mine}" for place, mine in PLACES.items())
    first = FIRST.format(
        folder=folder, name=name, binds=binds, runs=RUNS, manager=MANAGERS[service], engine=START if images else ""
    )
    (folder / "first.sh").write_text(first)
    if images:
        lay_engine(folder, images)
    (folder / "first.log").touch()
    if disk_bytes:
        options = f"size={disk_bytes},mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder / "srv")], check=True)


def remove_disk(folder: Path, disk_bytes: int) -> None:
    """Take what was mounted for it away from this machine."""
    if disk_bytes:
        subprocess.run(["umount", str(folder / "srv")], check=True)
