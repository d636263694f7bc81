"""Whatever stands in a configuration file, loading it gives settings or a ConfigFault; lines are where keys stand."""

import tempfile
import tomllib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.config import ConfigFault, load
from interlock.config.ansible import read_ansible
from interlock.config.lines import scan
from interlock.config.models import ConfigFile
from interlock.config.openssh import read_openssh
from interlock.config.reference import settings_reference

KEYS = sorted({setting.key.split(".")[-1] for setting in settings_reference()} | set(ConfigFile.model_fields))
quiet = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=12))
scalars = st.one_of(
    st.text(max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["agent", "*", "10.0.0.1", "/srv", "web1", "group:x", "~nobody-here/x", "~/x"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)
tables = st.dictionaries(keys, st.dictionaries(keys, values, max_size=4), max_size=5)


def quoted(text: str) -> str:
    kept = "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF)
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in kept) + '"'


def inline(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ", ".join(inline(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {inline(entry)}" for key, entry in value.items()) + "}"
    return repr(value).replace("e+", "e") if isinstance(value, float) else str(value)


def document(data: dict[str, dict[str, object]]) -> tuple[str, dict[tuple[str, ...], int]]:
    rows: list[str] = []
    where: dict[tuple[str, ...], int] = {}
    for section, entries in data.items():
        rows.append(f"[{quoted(section)}]")
        where[(section,)] = len(rows)
        for key, value in entries.items():
            rows.append(f"{quoted(key)} = {inline(value)} # [x] = {{")
            where[section, key] = len(rows)
    return "\n".join(rows), where


def loads_or_faults(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interlock.toml"
        path.write_bytes(data)
        try:
            load(path)
        except ConfigFault as fault:
            assert fault.problems


@quiet
@given(tables)
def test_any_tables_load_or_are_a_config_fault(data: dict[str, dict[str, object]]) -> None:
    text, _ = document(data)
    loads_or_faults(text.encode())


@quiet
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="[]{}=\"'#.,\n\\ ab1", max_size=60).map(str.encode)))
def test_any_bytes_load_or_are_a_config_fault(data: bytes) -> None:
    loads_or_faults(data)


@quiet
@given(st.text(alphabet="[]{}=\"'#.,\n\\ ab1-:", max_size=80))
def test_the_scanner_ends_on_any_text(text: str) -> None:
    scan(text)


@quiet
@given(tables)
def test_every_key_is_found_on_its_line(data: dict[str, dict[str, object]]) -> None:
    text, where = document(data)
    tomllib.loads(text)
    lines = scan(text)
    assert {path: lines.at(path) for path in where} == where


def test_lines_of_every_way_to_write_a_key() -> None:
    text = '''# first
[[a]]
x = """one
two"""
[[a]]
y = [ 1, # [
  "]",
  { z = 1, "q.r" = """
""" },
]
b.c . "d" = \'\'\'
\'\'\'
[a.e]
f = 1979-05-27 07:32:00
["g h".i]
'''
    tomllib.loads(text)
    lines = scan(text)
    found = {
        ("a", 0): 2,
        ("a", 0, "x"): 3,
        ("a", 1): 5,
        ("a", 1, "y", 1): 7,
        ("a", 1, "y", 2, "q.r"): 8,
        ("a", 1, "b", "c", "d"): 11,
        ("a", 1, "e"): 13,
        ("a", 1, "e", "f"): 14,
        ("g h", "i"): 15,
    }
    assert {path: lines.at(path) for path in found} == found


@quiet
@given(
    st.one_of(
        st.text(max_size=200),
        st.text(alphabet="[]:\n =ab1*!{}-'\"#%~/", max_size=120),
        st.lists(
            st.sampled_from(
                ["Host a b*", "Match all", "Include *", "User x", "Port 9", "ProxyJump a", "[g:children]", "[g]", "g",
                 "a[1:3] ansible_port=x", "[g:vars]", "x=y", "all:", "  hosts:", "    a: {b: c}", "  children: *x"]
            ),
            max_size=12,
        ).map("\n".join),
    )
)  # fmt: skip
def test_any_inventory_text_gives_hosts_or_problems(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("inventory", "inventory.yml"):
            path = Path(folder) / name
            path.write_text(text, errors="replace")
            for found in (read_openssh(path, ["*"]), read_ansible(path, ["*"], ["env"])):
                assert all(problem.message for problem in found.problems)
