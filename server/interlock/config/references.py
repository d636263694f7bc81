"""References to secrets: `"agent"`, `{env = "NAME"}`, `{file = "path"}`. A secret is read only where it is asked for.

A literal where a reference belongs is refused without being repeated: it may be the secret itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from interlock.config.faults import ConfigFault, Problem
from interlock.settings import SecretRef, Settings

SECRET_BYTES_MAX = 64 * 1024
REFERENCE_FORMS = 'write {env = "NAME"}, {file = "path"} or "agent"'
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PATH_CHARS_MAX = 4_096


def parse_reference(value: object) -> SecretRef:
    """A reference from its TOML form. Raises PydanticCustomError, which never holds the value."""
    if value == "agent":
        return SecretRef("agent")
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind == "env" and isinstance(name, str) and _VARIABLE.fullmatch(name):
            return SecretRef("env", name)
        if kind == "file" and isinstance(name, str) and 0 < len(name) <= _PATH_CHARS_MAX and "\0" not in name:
            return SecretRef("file", name)
    raise PydanticCustomError("secret_reference", "a secret is given by reference only, never as its value")


Reference = Annotated[SecretRef, PlainValidator(parse_reference, json_schema_input_type=str | dict[str, str])]


def absent(reference: SecretRef, environ: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """What is wrong with what a reference points to, and how to mend it; None where it is there and kept private."""
    if reference.kind == "env":
        if environ.get(reference.name):
            return None
        return f"the environment variable {reference.name} is not set", f"export {reference.name} before the start"
    if reference.kind == "file":
        return private_file_fault(Path(reference.name))
    if environ.get("SSH_AUTH_SOCK"):
        return None
    return "there is no ssh-agent here: SSH_AUTH_SOCK is not set", "start ssh-agent, or name a key file"


def private_file_fault(path: Path) -> tuple[str, str] | None:
    """What is wrong with a file that holds a secret, and how to mend it. It is not opened."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return f"there is no readable file {path}", "correct the path, or create the file"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is not a file", "name the file that holds the secret"
    if found.st_mode & 0o077:
        return f"{path} can be read by others (mode {found.st_mode & 0o777:04o})", f"chmod 600 {path}"
    if not os.access(path, os.R_OK):
        return f"{path} cannot be read by this user", "run as its owner, or change its owner"
    return None


def secret_value(reference: SecretRef, environ: Mapping[str, str] = os.environ) -> str:
    """The secret itself: "" for the agent, else the variable's or the file's text without its last line end.

    Raises OSError or ValueError (too large, not text); their text names the reference, never the value.
    """
    if reference.kind == "env":
        return environ.get(reference.name, "")
    if reference.kind != "file":
        return ""
    with Path(reference.name).open("rb") as file:
        data = file.read(SECRET_BYTES_MAX + 1)
    if len(data) > SECRET_BYTES_MAX:
        raise ValueError(f"{reference.name} is larger than {SECRET_BYTES_MAX} bytes")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{reference.name} does not hold text") from None


def secret_values(settings: Settings, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The values that must never be kept: those of [redact], and the keys that hosts take from the environment.

    Raises ConfigFault where one cannot be read: what cannot be recognised cannot be cut out.
    """
    keys = [key for host in settings.hosts.values() for key in host.identities if key.kind == "env"]
    found: list[str] = []
    for reference in (*settings.redact, *keys):
        try:
            value = secret_value(reference, environ)
        except (OSError, ValueError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else str(fault)
            problem = Problem(str(settings.source or ""), 0, "redact.values", f"{reference.name}: {reason}")
            raise ConfigFault([problem]) from None
        if value:
            found.append(value)
    return tuple(dict.fromkeys(found))


def held_secrets(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[tuple[str, str], str]:
    """The secrets of the apps by their references, as they are now: these are the ones that are cut out of texts.

    Raises OSError or ValueError, as `secret_value` does.
    """
    named = {reference for app in settings.apps.values() for reference in app.secrets.values()}
    return {(kind, name): secret_value(SecretRef(kind, name), environ) for kind, name in named}
