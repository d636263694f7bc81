"""Container words: the lines of bash that pull an image and replace a container. It runs none and knows no host.

The container of the deployment before is stopped and kept under another name until all is over: so going back starts
the very same one, with its own options and whatever it wrote into itself.
"""

from __future__ import annotations

import shlex

from interlock_tools.apps import App, Container

BEFORE = ".interlock-before-"
_ENGINE = """E=; for e in {engines}; do
  if command -v "$e" >/dev/null 2>&1 && "$e" version >/dev/null 2>&1; then E=$e; break; fi
done
[ -n "$E" ] || {{ echo "no engine answers: {engines}" >&2; exit 69; }}
"""
_NAMES = """N={name}; D={deployment}; B="$N{before}$D"
made_by() {{ "$E" container inspect --format '{{{{index .Config.Labels "interlock.deployment"}}}}' "$1" 2>/dev/null; }}
is_there() {{ "$E" container inspect "$1" >/dev/null 2>&1; }}
# A run that was killed may have kept the name. Only where the engine says so itself: an answer that fails says nothing.
free_name() {{ "$E" container inspect "$N" 2>&1 >/dev/null | grep -qi 'no such' && "$E" rm -f "$N" >/dev/null 2>&1; }}
gone() {{ "$E" stop -t {stop} "$1" >/dev/null 2>&1; "$E" rm -f "$1" >/dev/null; }}
"""
# What this deployment made is made anew; whatever had the name before is put aside, and what earlier ones had goes.
_REPLACE = """for c in $("$E" ps -a --filter "name=$N{before}" --format '{{{{.Names}}}}'); do
  case $c in "$B") ;; "$N{before}"*) gone "$c" ;; esac
done
if [ "$(made_by "$N")" = "$D" ]; then gone "$N" || exit
elif is_there "$N"; then "$E" stop -t {stop} "$N" >/dev/null && "$E" rename "$N" "$B" || exit
fi
free_name
exec "$E" run -d --name "$N" {labels} {options} {image} {command}
"""
_RETURN = """if [ "$(made_by "$N")" = "$D" ]; then gone "$N" || exit; fi
free_name
if ! is_there "$N" && is_there "$B"; then "$E" rename "$B" "$N" || exit; fi
if is_there "$N"; then exec "$E" start "$N"; fi
"""


def pull_command(container: Container, sha256: str) -> str:
    """Bash that brings the image with this digest to the host's engine, where it is not there yet."""
    image = shlex.quote(image_of(container, sha256))
    return f'{_engine(container)}"$E" image inspect {image} >/dev/null 2>&1 || exec "$E" pull -q {image}\n'


def replace_command(app: App, container: Container, release: str, sha256: str, deployment: str) -> str:
    """Bash that lets a new container of this image take the old one's place. Begun again it makes its own anew."""
    labels = {"app": app.name, "release": release, "sha256": sha256, "deployment": deployment}
    return (
        _engine(container)
        + _names(container, deployment)
        + _REPLACE.format(
            before=BEFORE,
            stop=container.stop_seconds,
            labels=shlex.join(f"--label=interlock.{name}={value}" for name, value in labels.items()),
            options=shlex.join(container.options),
            image=shlex.quote(image_of(container, sha256)),
            command=shlex.join(container.command),
        )
    )


def return_command(container: Container, deployment: str) -> str:
    """Bash that takes away what this deployment started, and starts again what it had put aside."""
    return _engine(container) + _names(container, deployment) + _RETURN


def image_of(container: Container, sha256: str) -> str:
    """An image by its digest, as engines name it."""
    return f"{container.image}@sha256:{sha256}"


def _engine(container: Container) -> str:
    return _ENGINE.format(engines="podman docker" if container.engine == "auto" else container.engine)


def _names(container: Container, deployment: str) -> str:
    name, stop = shlex.quote(container.name), container.stop_seconds
    return _NAMES.format(name=name, before=BEFORE, deployment=shlex.quote(deployment), stop=stop)
