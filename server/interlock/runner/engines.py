"""Engines: podman or docker on this host, and an application's container. It looks and clears up; it starts nothing.

What is ours has our labels. A container of the same name without them is somebody else's, and is left alone.
"""

import os
import re
import shutil
import subprocess
import time
from typing import Any, Dict, List, Tuple

from interlock.runner.appchanges import Noting
from interlock.runner.appclaims import fenced_app
from interlock.runner.appfolders import (
    MANIFESTS_FOLDER,
    RELEASE_ID,
    SHA256_HEX,
    app_text,
    manifest_of,
    write_record,
)
from interlock.runner.rundirs import RunFault
from interlock.runner.services import SERVICE_PATH
from interlock.runner.tree import stat_at

ENGINES = ("podman", "docker")
ENGINE_SECONDS_MAX = 20.0
ENGINE_OUTPUT_MAX = 64 * 1024
CONTAINER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
IMAGE_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]{0,400}")
BEFORE_CONTAINER = ".interlock-before-"  # what the container before is called, with the deployment that put it aside
LABEL_APP, LABEL_DIGEST = "interlock.app", "interlock.sha256"
LOOKED_AT = '{{.State.Running}} {{index .Config.Labels "%s"}} {{index .Config.Labels "%s"}}' % (LABEL_APP, LABEL_DIGEST)


def engine_there(wanted: str) -> Tuple[str, str]:
    """The engine that answers here, its path ("" = none does), and why not. `wanted`: podman, docker or auto."""
    said = []
    for name in ENGINES if wanted == "auto" else (wanted,):
        path = shutil.which(name, path=SERVICE_PATH)
        if path is None:
            said.append("%s is not installed" % name)
            continue
        field = "{{.Client.Version}}" if name == "podman" else "{{.Server.Version}}"
        status, out, err = _asked_engine([path, "version", "--format", field])
        if status == 0 and re.match(r"[0-9]+\.[0-9]+", out):
            return path, ""
        said.append("%s does not answer: %s" % (name, (err or out).strip()[:200]))
    return "", "; ".join(said)


def container_there(head: Dict[str, Any]) -> Dict[str, Any]:
    """Of an application that is a container: the engine, and what runs under its name now. Raises RunFault."""
    about = head["container"]
    if not isinstance(about, dict) or about.get("engine") not in (*ENGINES, "auto"):
        raise RunFault("bad_request", "a container has an engine and a name")
    engine, why = engine_there(about["engine"])
    if not engine:
        return {"engine": "", "why": why, "running": "", "foreign": False}
    name, app = app_text(about, "name", CONTAINER_NAME), str(about.get("app"))
    status, out, err = _asked_engine([engine, "container", "inspect", "--format", LOOKED_AT, name])
    if status != 0:
        if "no such" not in err.lower():
            raise RunFault("unavailable", "%s could not be asked: %s" % (engine, err.strip()[:200]))
        return {"engine": engine, "why": "", "running": "", "foreign": False}
    running, _, rest = out.strip().partition(" ")
    owner, _, digest = rest.partition(" ")
    return {
        "engine": engine, "why": "", "foreign": owner != app,
        "running": digest if running == "true" and SHA256_HEX.fullmatch(digest) else "",
    }  # fmt: skip


def note_release(head: Dict[str, Any], body: bytes) -> Dict[str, Any]:
    """Write down a release whose content the engine keeps, under the hash of its image. Raises RunFault("exists")."""
    del body
    release, sha256 = app_text(head, "release", RELEASE_ID), app_text(head, "sha256", SHA256_HEX)
    with fenced_app(head) as app:
        releases, known = app.folder("releases"), manifest_of(app, release)
        already = known is not None and stat_at(releases, release) is not None
        if already and (known or {})["sha256"] != sha256:
            reason = "%s/releases/%s is there with other content: choose another id" % (app.real, release)
            raise RunFault("exists", reason)
        noting, step = Noting(app, head), "place %s" % release
        if not already:
            noting.note(step, "releases/" + release)
            manifest = {"id": release, "sha256": sha256, "bytes": 0, "entries": 0, "placed_at": time.time()}
            write_record(app.folder(MANIFESTS_FOLDER), "%s.json" % release, manifest)
            if stat_at(releases, release) is None:
                os.mkdir(release, 0o755, dir_fd=releases)
        os.fsync(releases)
        return {"placed": True, "already": already, "release": release, **noting.told(step)}


def clear_containers(head: Dict[str, Any], gone: List[str]) -> None:
    """Remove the containers that were put aside, and the images (by their hashes) of releases that are gone.

    What the engine does not do is left for the next time: nothing that runs depends on it.
    """
    about = head.get("container")
    if not isinstance(about, dict):
        return
    engine, _ = engine_there(str(about.get("engine")))
    if engine:
        name, image = app_text(about, "name", CONTAINER_NAME), app_text(about, "image", IMAGE_NAME)
        filtered = ["--filter", "name=" + name + BEFORE_CONTAINER, "--format", "{{.Names}}"]
        for other in _asked_engine([engine, "ps", "-a", *filtered])[1].split():
            if other.startswith(name + BEFORE_CONTAINER):
                _asked_engine([engine, "rm", "-f", other])
        for sha256 in gone:
            _asked_engine([engine, "image", "rm", "%s@sha256:%s" % (image, sha256)])


def _asked_engine(argv: List[str]) -> Tuple[int, str, str]:
    """How an engine's command ended, and what it printed; it gets no input and no time to hang."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=ENGINE_SECONDS_MAX,
            env={**os.environ, "PATH": SERVICE_PATH, "LC_ALL": "C"}, cwd="/", check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as fault:
        return 127, "", str(fault)
    texts = [data[:ENGINE_OUTPUT_MAX].decode("utf-8", "replace") for data in (done.stdout, done.stderr)]
    return done.returncode, texts[0], texts[1]
