"""The container of an app of the strategy `container`: its image, its engine, how it is run. It asks no host."""

from __future__ import annotations

import re

from interlock.config.app_files import say_unused
from interlock.config.app_forms import Fault
from interlock.config.app_sections import AppSection
from interlock.config.spot import Spot
from interlock_tools.apps import Container, Strategy

_IMAGE = re.compile(r"[a-z0-9][a-z0-9._-]*(?::[0-9]{1,5})?(?:/[a-z0-9][a-z0-9._-]*)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
_OURS = ("--name", "--rm", "--detach", "--replace", "-d", "--pull")  # what the deployment itself decides


def build_container(section: AppSection, name: str, spot: Spot) -> Container | None:
    """The container as a value; what is wrong with it is said at its spot."""
    if Strategy(section.strategy) is not Strategy.CONTAINER:
        if section.container is not None:
            spot.say(('only the strategy "container" has it', 'remove it, or strategy = "container"'), "container")
        return None
    say_unused(section, spot)
    if section.service is not None:
        spot.say(('the strategy "container" has no such thing', "remove it"), "service")
    found = section.container
    if found is None:
        spot.say(("it has no container", '[apps.NAME.container] with image = "registry.example.com/shop"'), "container")
        return None
    at = spot.at("container")
    image = at.demanded("image", found.image, 'image = "registry.example.com/shop"')
    if found.image is not None:
        at.say(_image_fault(image), "image")
    if not _NAME.fullmatch(found.name or name):
        at.say(("this is no name of a container", "letters, digits and any of _ . -"), "name")
    for number, option in enumerate(found.options):
        if option.partition("=")[0] in _OURS:
            at.say(("a deployment decides that itself", "remove it"), "options", number)
    return Container(
        image,
        found.name or name,
        found.engine,
        tuple(found.options),
        tuple(found.command),
        found.stop_seconds,
        found.pull_seconds,
    )


def _image_fault(image: str) -> Fault | None:
    if "@" in image or ":" in image.rpartition("/")[2]:
        return "it has a tag or a digest", "which image it is, a release says: name the repository alone"
    if not _IMAGE.fullmatch(image):
        return "this is no image with its registry", 'such as "registry.example.com/shop" or "localhost:5000/shop"'
    return None
