"""The deploy family: which release of which configured app. What that means on which hosts is the operator's to say."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from interlock_tools.apps import SERVICE_ACTIONS, App
from interlock_tools.declare import choice, text
from interlock_tools.errors import ArgumentInvalid, ArgumentMissing
from interlock_tools.fields import Field, Form, fits_inline
from interlock_tools.plan import Deploy, Plan
from interlock_tools.shared import (
    FieldLimits,
    certainty_fields,
    idempotency_field,
    intent_field,
    mode_field,
    time_fields,
    wait_field,
)
from interlock_tools.tool import READS, Arguments, Hints, Tool
from interlock_tools.values import Fault

FAMILY = "deploy_"
RELEASE_CHARS_MAX = 64
DEPLOY_SECONDS = 1_800
_SHIPS = Hints(read_only=False, destructive=True, idempotent=True, open_world=False)
_CONTROLS = Hints(read_only=False, destructive=True, idempotent=False, open_world=False)
_APP_NAMES = ("application", "app_name", "project", "name")


def deploy_tools(apps: Sequence[App], hosts: tuple[str, ...], limits: FieldLimits) -> tuple[Tool, ...]:
    """deploy_release, deploy_status, deploy_rollback, deploy_service; none where no app can be named.

    `hosts`: on which an artifact may lie.
    """
    if not apps:
        return ()
    found = [_deploy_release(apps, hosts, limits), _deploy_status(apps, limits), _deploy_rollback(apps, limits)]
    if services_of(apps):
        found.append(_deploy_service(apps, limits))
    return tuple(found)


def is_deployment(tool: str) -> bool:
    """Whether a call of this tool is one of this family: its place is an app, and no host."""
    return tool.startswith(FAMILY)


def services_of(apps: Sequence[App]) -> tuple[str, ...]:
    """The names of the services of these apps, each once."""
    return tuple(dict.fromkeys(app.service.unit for app in apps if app.service is not None))


def _app_field(apps: Sequence[App]) -> Field:
    names = tuple(app.name for app in apps)
    return choice("app", "Which.", names, *_APP_NAMES, published=fits_inline(names))


def _release_field(words: str) -> Field:
    aliases = ("version", "tag", "release_id", "build")
    return text("release", words, *aliases, form=Form.ID, chars_min=1, chars_max=RELEASE_CHARS_MAX)


def _shared_fields(limits: FieldLimits, *, intent: bool = True) -> tuple[Field, ...]:
    # A fleet takes longer than a command: the default is the operator's limit, or half an hour.
    timeout, wait = time_fields(limits, DEPLOY_SECONDS)
    return (intent_field(required=intent), mode_field(), *certainty_fields(), idempotency_field(), timeout, wait)


# ── deploy_release, deploy_rollback ──────────────────────────────────────────────────────────────────────────────────


def _deploy_release(apps: Sequence[App], hosts: tuple[str, ...], limits: FieldLimits) -> Tool:
    whence = ("server", *hosts)
    fields = (
        _app_field(apps),
        text(
            "artifact",
            "Name, image digest, or path on a host.",
            "file",
            "archive",
            "package",
            form=Form.LINE,
            chars_max=400,
        ),
        choice("artifact_host", "Where it lies.", whence, "from_host", default="server", published=fits_inline(whence)),
        text("artifact_call", "Or: call whose stdout it is.", "from_call", form=Form.ID, chars_max=64),
        text("sha256", "It must have.", "checksum", "digest", "expected_sha256", form=Form.SHA256, chars_max=80),
        _release_field("Its name; default: from the hash."),
        *_shared_fields(limits),
    )
    words = "Ship a release of an app: canary first, health checked, taken back on failure."
    return Tool(
        "deploy_release", "Ship release", words, fields, _SHIPS, _plan_release, review=_review_release, deploys=True
    )


def _review_release(arguments: Arguments) -> Fault | None:
    artifact, call = arguments["artifact"], arguments["artifact_call"]
    if bool(artifact) == bool(call):
        kind = ArgumentInvalid if artifact else ArgumentMissing
        return Fault(kind, "artifact", "either artifact or artifact_call says what is shipped")
    if artifact and arguments["artifact_host"] != "server":
        return _review_on_host(arguments) or _review_name(arguments)
    if artifact and (artifact.startswith("/") or ".." in artifact.split("/") or "\\" in artifact):
        return Fault(ArgumentInvalid, "artifact", "a path below the server's artifacts folder is expected")
    return _review_name(arguments)


def _review_on_host(arguments: Arguments) -> Fault | None:
    path: str = arguments["artifact"]
    if not path.startswith("/") or path != posixpath.normpath(path) or "\0" in path:
        return Fault(ArgumentInvalid, "artifact", "an absolute path on that host is expected, without . and ..")
    if not arguments["sha256"]:
        return Fault(ArgumentMissing, "sha256", "what lies on a host is named by its hash too: sha256sum")
    return None


def _review_name(arguments: Arguments) -> Fault | None:
    release: str = arguments["release"]
    if release and not (release[0].isalnum() and ":" not in release):
        return Fault(ArgumentInvalid, "release", "it begins with a letter or a digit, then letters, digits and ._-")
    return None


def _plan_release(arguments: Arguments) -> Plan:
    return Deploy(
        "release",
        arguments["app"],
        release=arguments["release"],
        artifact=arguments["artifact"],
        artifact_call=arguments["artifact_call"],
        artifact_host="" if arguments["artifact_host"] == "server" else arguments["artifact_host"],
        sha256=arguments["sha256"],
    )


def _deploy_rollback(apps: Sequence[App], limits: FieldLimits) -> Tool:
    fields = (_app_field(apps), _release_field("Default: the one before."), *_shared_fields(limits))
    words = "Back to an earlier kept release, by the same road."
    return Tool(
        "deploy_rollback", "Roll back", words, fields, _SHIPS, _plan_rollback, review=_review_name, deploys=True
    )


def _plan_rollback(arguments: Arguments) -> Plan:
    return Deploy("rollback", arguments["app"], release=arguments["release"])


# ── deploy_status, deploy_service ────────────────────────────────────────────────────────────────────────────────────


def _deploy_status(apps: Sequence[App], limits: FieldLimits) -> Tool:
    fields = (_app_field(apps), wait_field(limits, "Then a handle.", min(50, limits.wait_seconds_max)))
    words = "What is live where, kept releases, health, a running roll-out."
    return Tool("deploy_status", "Release status", words, fields, READS, _plan_status, deploys=True)


def _plan_status(arguments: Arguments) -> Plan:
    return Deploy("status", arguments["app"])


def _deploy_service(apps: Sequence[App], limits: FieldLimits) -> Tool:
    hosts = tuple(dict.fromkeys(host for app in apps if app.service is not None for host in app.hosts))
    means = {"up": "start", "down": "stop", "bounce": "restart", "hup": "reload", "state": "status"}
    names = services_of(apps)
    fields = (
        choice("service", "Which.", names, "unit", "service_name", "name", published=fits_inline(names)),
        choice("action", "What.", SERVICE_ACTIONS, "verb", "operation", "command", means=means),
        choice("on", "One host only.", ("all", *hosts), "only", "host", default="all", published=fits_inline(hosts)),
        *_shared_fields(limits, intent=False),
    )
    words = "Start, stop, restart, reload, status of a configured service, host by host."
    return Tool(
        "deploy_service", "Control service", words, fields, _CONTROLS, _plan_service, review=_review_service,
        deploys=True,
    )  # fmt: skip


def _review_service(arguments: Arguments) -> Fault | None:
    if arguments["action"] != "status" and not arguments["intent"]:
        return Fault(ArgumentMissing, "intent", "a call that changes a service says why")
    return None


def _plan_service(arguments: Arguments) -> Plan:
    host = "" if arguments["on"] == "all" else arguments["on"]
    return Deploy(arguments["action"], service=arguments["service"], host=host)
