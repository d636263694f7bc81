"""Near misses: the command that was meant, from what was declared."""

import pytest

from interlock_policies.recover import correction
from interlock_tools.effects import Declaration, Effect, EffectKind

CWD = "/srv/app"


def delete(target: str, *, exact: bool = True) -> Effect:
    return Effect(EffectKind.DELETE, target, "rm", recursive=True, exact=exact)


def write(target: str) -> Effect:
    return Effect(EffectKind.WRITE, target, "cp")


@pytest.mark.parametrize(
    ("command", "declared", "effects", "first"),
    [
        ("rm -rf /logs", Declaration(deletes=("/srv/app/logs",)), [delete("/logs")], "rm -rf ./logs"),
        ("rm -rf /logs/", Declaration(deletes=("/srv/app/logs",)), [delete("/logs")], "rm -rf ./logs/"),
        ("rm -rf '/logs'", Declaration(deletes=("/srv/app/logs",)), [delete("/logs")], "rm -rf './logs'"),
        ("rm -rf /logs/*", Declaration(deletes=("/srv/app/logs",)), [delete("/logs", exact=False)], "rm -rf ./logs/*"),
        ("rm -rf /logs/old", Declaration(deletes=("/srv/app/logs",)), [delete("/logs/old")], "rm -rf ./logs/old"),
        (
            "rm /opt/app/x.log",
            Declaration(deletes=("/var/app/x.log",)),
            [delete("/opt/app/x.log")],
            "rm /var/app/x.log",
        ),
        (
            "cp a config.yaml",
            Declaration(writes=("/srv/app/etc/config.yaml",)),
            [write("/srv/app/config.yaml")],
            "cp a ./etc/config.yaml",
        ),
        (
            "dd if=a of=/disk.img",
            Declaration(writes=("/srv/app/disk.img",)),
            [write("/disk.img")],
            "dd if=a of=./disk.img",
        ),
        (
            "echo x >/out.txt; rm /b",
            Declaration(writes=("/srv/app/out.txt",), deletes=("/srv/app/b",)),
            [write("/out.txt"), delete("/b")],
            "echo x >./out.txt; rm ./b",
        ),
        (
            "rm -rf /logs /logs2",
            Declaration(deletes=("/srv/app/logs", "/logs2")),
            [delete("/logs")],
            "rm -rf ./logs /logs2",
        ),
        ("rm -rf /a/logs", Declaration(deletes=("/x/b/logs", "/x/a/logs")), [delete("/a/logs")], "rm -rf /x/a/logs"),
    ],
)
def test_a_near_miss_becomes_what_was_declared(
    command: str, declared: Declaration, effects: list[Effect], first: str
) -> None:
    assert correction(command, declared, effects, CWD)[0] == first


def test_the_absolute_path_is_offered_too() -> None:
    assert "rm -rf /srv/app/logs" in correction(
        "rm -rf /logs", Declaration(deletes=("/srv/app/logs",)), [delete("/logs")], CWD
    )


@pytest.mark.parametrize(
    ("command", "declared", "effects"),
    [
        ("rm -rf /", Declaration(deletes=("/srv/app/logs",)), [delete("/")]),
        ("rm -rf /data", Declaration(deletes=("/srv/app/logs",)), [delete("/data")]),
        ("rm -rf /logs", Declaration(writes=("/srv/app/logs",)), [delete("/logs")]),
        ("rm -rf $X", Declaration(deletes=("/srv/app/logs",)), [delete("/logs")]),
        ("rm -rf /logs", Declaration(deletes=("/srv/app/logs",)), []),
        ("rm -rf /logs", Declaration(deletes=("/srv/my app/logs",)), [delete("/logs")]),
        (
            "rm -rf /logs; curl x",
            Declaration(deletes=("/srv/app/logs",)),
            [delete("/logs"), Effect(EffectKind.NETWORK, "x", "curl")],
        ),
    ],
)
def test_where_nothing_is_near_nothing_is_proposed(command: str, declared: Declaration, effects: list[Effect]) -> None:
    assert correction(command, declared, effects, CWD) == []


def test_a_longer_word_that_holds_the_path_stays() -> None:
    found = correction("cat /logs.txt; rm /logs", Declaration(deletes=("/srv/app/logs",)), [delete("/logs")], CWD)
    assert found[0] == "cat /logs.txt; rm ./logs"
