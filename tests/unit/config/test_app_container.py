"""The container of an app in the configuration: which image, how it runs; whatever is wrong is said with its line."""

from pathlib import Path

import pytest

from app_configs import app, fault
from interlock_tools.apps import Container, Strategy

BOX = '[apps.box]\nhosts = ["web1"]\npath = "/srv/box"\nstrategy = "container"\n'
TABLE = '[apps.box.container]\nimage = "registry.example.com:5000/team/shop"\n'


def test_an_app_that_is_a_container_has_its_image_and_how_it_runs(tmp_path: Path) -> None:
    more = 'engine = "docker"\noptions = ["--network=host"]\ncommand = ["serve", "-v"]\n'
    found = app(tmp_path, BOX + TABLE + more, "box")
    assert found.strategy is Strategy.CONTAINER
    image = "registry.example.com:5000/team/shop"
    assert found.container == Container(image, "box", "docker", ("--network=host",), ("serve", "-v"))


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        (BOX, 1, "container", "has no container"),
        (f"{BOX}[apps.box.container]\n", 5, "container", "missing"),
        (BOX + TABLE.replace("shop", "shop:1.2"), 6, "container.image", "a tag or a digest"),
        (BOX + TABLE.replace("shop", "shop@sha256"), 6, "container.image", "a tag or a digest"),
        (BOX + TABLE.replace("registry.example.com:5000/team/", ""), 6, "container.image", "its registry"),
        (f'{BOX}{TABLE}name = "-box"\n', 7, "container.name", "no name of a container"),
        (f'{BOX}{TABLE}options = ["--network=host", "--name=x"]\n', 7, "container.options[1]", "decides that itself"),
        (f'{BOX}{TABLE}options = ["--rm"]\n', 7, "container.options[0]", "decides that itself"),
        (f'{BOX}service = "nginx"\n{TABLE}', 5, "service", "no such thing"),
        (f'{BOX}shared = ["log"]\n{TABLE}', 5, "shared", "no such thing"),
        (f"{BOX}{TABLE}".replace('"container"', '"release"'), 5, "container", 'only the strategy "container"'),
    ],
)
def test_what_is_wrong_with_a_container_is_said_with_its_line(
    tmp_path: Path, text: str, line: int, key: str, said: str
) -> None:
    found = fault(tmp_path, text)
    assert found[:2] == (line, f"apps.box.{key}")
    assert said in found[2]
