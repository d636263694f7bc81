"""Images for a fleet, and the engine of its hosts: a real podman, and a registry on each host's own loopback.

The images are made without any network: a busybox that serves one folder of files.
"""

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from waiting import wait_for

REGISTRY = "127.0.0.1:5000"
IMAGE = f"{REGISTRY}/shop"
WEB_PORT = 8081
_PROGRAMS = ("podman", "crun", "docker-registry", "busybox")
_MISSING = [program for program in _PROGRAMS if not shutil.which(program)]
needs_engine = pytest.mark.skipif(bool(_MISSING), reason=f"containers need {_PROGRAMS}; missing: {_MISSING}")
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{graph}"\nrunroot = "{run}"\n'
# A host of a fleet has no cgroups of its own, and no more rights over limits than this machine gives it.
CONTAINERS = """[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:4096", "nproc=1024:2048"]
log_driver = "k8s-file"
[engine]
runtime = "crun"
events_logger = "file"
cgroup_manager = "cgroupfs"
"""
REGISTRY_YML = "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}}}}}\nhttp: {{addr: '{address}'}}\n"
# Further lines of a host's first process.
START = """mount -t tmpfs tmpfs /sys/fs/cgroup
docker-registry serve /etc/containers/registry.yml </dev/null >>/var/log/registry.log 2>&1 &
"""


def build_images(folder: Path) -> dict[str, str]:
    """The images one, two and sick (which does not answer its health check), by name their digests (hex).

    `folder`/registry holds them afterwards, as a registry keeps them.
    """
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "registry.yml").write_text(REGISTRY_YML.format(folder=folder / "registry", address=address))
    (folder / "storage.conf").write_text(STORAGE.format(graph=folder / "graph", run=folder / "run"))
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf")}
    serving = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "registry.yml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: _answers(address), "the registry")
        return {name: _built(folder, name, address, environment) for name in ("one", "two", "sick")}
    finally:
        serving.terminate()
        serving.wait()


def _built(folder: Path, name: str, address: str, environment: dict[str, str]) -> str:
    root = folder / name
    busybox = shutil.which("busybox")
    listed = subprocess.run(["ldd", busybox], capture_output=True, text=True, check=True).stdout.split()
    for source in (busybox, *(word for word in listed if word.startswith("/"))):
        place = root / ("bin/busybox" if source == busybox else source.lstrip("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    (root / "bin/httpd").symlink_to("busybox")
    (root / "www").mkdir()
    (root / "www/index.html").write_text(f"{name}\n")
    if name != "sick":
        (root / "www/health").write_text("ok\n")
    packed, digest = folder / f"{name}.tar", folder / f"{name}.digest"
    serves = ["/bin/httpd", "-f", "-p", f"127.0.0.1:{WEB_PORT}", "-h", "/www"]
    for command in (
        ["tar", "-C", str(root), "-cf", str(packed), "."],
        ["podman", "import", "--change", f"CMD {json.dumps(serves)}", str(packed), f"localhost/{name}"],
        ["podman", "push", "--tls-verify=false", "--digestfile", str(digest), f"localhost/{name}",
         f"{address}/shop:{name}"],
    ):  # fmt: skip
        subprocess.run(command, env=environment, check=True, capture_output=True)
    return digest.read_text().strip().removeprefix("sha256:")


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def lay_engine(folder: Path, images: Path) -> None:
    """A host's engine and registry, on its disk below `folder`; `images` as `build_images` left them."""
    shutil.copytree(images / "registry", folder / "srv/.registry")
    place = folder / "containers"
    (place / "storage.conf").write_text(STORAGE.format(graph="/srv/.containers", run="/run/containers"))
    (place / "containers.conf").write_text(CONTAINERS)
    (place / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (place / "registries.conf").write_text(f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n')
    (place / "registry.yml").write_text(REGISTRY_YML.format(folder="/srv/.registry", address=REGISTRY))
