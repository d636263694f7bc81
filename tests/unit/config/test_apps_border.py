"""Every key of the tables inside an app is on the page of the configuration; any table loads or is a fault."""

import tempfile
from pathlib import Path

from annotated_types import Ge, Le
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_configs import BEFORE, LINES_BEFORE
from configs import write
from interlock.config import ConfigFault, app_kinds, app_sections, load
from interlock.config.reference import Setting, inner_reference
from interlock.config.section import Section
from pages import CONFIGURATION

MODELS: dict[str, type[Section]] = {
    "apps.NAME.service": app_sections.ServiceSection,
    "apps.NAME.checks": app_sections.CheckSection,
    "apps.NAME.batches": app_sections.BatchesSection,
    "apps.NAME.container": app_kinds.ContainerSection,
    "apps.NAME.files": app_kinds.FileSection,
    "apps.NAME.host_values": app_kinds.HostValuesSection,
    "apps.NAME.hooks": app_sections.HooksSection,
    "apps.NAME.hooks.prepare": app_sections.HookSection,
    "apps.NAME.freezes": app_sections.FreezeSection,
}


def row_of(table: str, setting: Setting) -> tuple[str, ...]:
    metadata = MODELS[table].model_fields[setting.key].metadata
    low = [entry.ge for entry in metadata if isinstance(entry, Ge)]
    high = [entry.le for entry in metadata if isinstance(entry, Le)]
    bounds = f", {low[0]} to {high[0]}" if low and high else ""
    default = f"`{setting.default}`" if setting.default else "–"
    return (f"`{setting.key}`", setting.type + bounds, default, setting.description)


def test_the_page_has_a_table_of_exactly_the_keys_of_each_table_inside_an_app() -> None:
    assert set(inner_reference()) == set(MODELS)
    for table, found in inner_reference().items():
        lines = CONFIGURATION.section(table).splitlines()
        rows = [tuple(cell.strip() for cell in line[1:-1].split(" | ")) for line in lines if line.startswith("| `")]
        assert rows == [row_of(table, setting) for setting in found], table


keys = st.one_of(
    st.sampled_from(
        sorted({key for model in (app_sections.AppSection, *MODELS.values()) for key in model.model_fields})
    ),
    st.sampled_from(["restart", "status", "x"]),
)
words = st.sampled_from(
    ["web1", "group:web", "*", "/srv/shop", "/", "..", "", "http", "tcp", "service", "command", "http://[", "5:5",
     "100%", "0", "mon 09:00-17:00", "fri-mon 99:99-00:00", "2026-13-01", "Europe", "none", "runit", "²:٣"]
)  # fmt: skip
plain = st.one_of(
    words, st.integers(-5, 2_000), st.booleans(), st.floats(), st.dates().map(lambda day: day.isoformat())
)
tables = st.dictionaries(
    keys,
    st.recursive(plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4))),
    max_size=6,
)


def inline(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(inline(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(entry)}" for key, entry in value.items()) + "}"
    return repr(value)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables)
def test_any_app_loads_or_is_a_config_fault(table: dict[str, object]) -> None:
    text = "\n".join(
        f"{key} = {inline(value)}" for key, value in ({"hosts": ["web1"], "path": "/srv/shop"} | table).items()
    )
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), f"{BEFORE}[apps.shop]\n{text}\n")
        try:
            found = load(path).apps["shop"]
        except ConfigFault as faults:
            assert all(problem.line > LINES_BEFORE for problem in faults.problems)
        else:
            assert found.hosts
            assert found.path.count("/") >= 2
