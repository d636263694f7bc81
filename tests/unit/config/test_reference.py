"""Every setting can be listed, with what it means; the shape of the file and the settings say the same."""

import dataclasses
import re
import tomllib
from pathlib import Path

from interlock.config.bounds import LimitsSection
from interlock.config.embedded import embedded
from interlock.config.init import CONFIG_TEXT, write_start
from interlock.config.models import ConfigFile
from interlock.config.reference import settings_reference
from interlock.settings import HostSettings, HttpSettings, Limits


def test_every_setting_has_a_type_and_a_meaning() -> None:
    found = settings_reference()
    assert len(found) > 60
    assert len({setting.key for setting in found}) == len(found)
    assert all(setting.type and setting.description.endswith(".") for setting in found)
    by_key = {setting.key: setting for setting in found}
    assert by_key["limits.attempts_max"].default == str(Limits().attempts_max)
    assert by_key["hosts.NAME.identities"].type == "list of reference to a secret"
    assert by_key["principals.NAME.kind"].type == '"agent" or "human"'
    assert by_key["inventory.openssh"].type == "list of text"
    assert by_key["policy.packs"].default == '["baseline", "environments", "confidence", "deploy"]'


def test_every_limit_can_be_set_and_its_default_is_within_its_bounds() -> None:
    assert set(LimitsSection.model_fields) == {field.name for field in dataclasses.fields(Limits)}
    assert LimitsSection.model_validate(LimitsSection().model_dump()) == LimitsSection()
    assert Limits(**LimitsSection().model_dump()) == Limits()


def test_what_a_host_and_http_can_be_is_what_can_be_written() -> None:
    written = set(ConfigFile.model_fields["hosts"].annotation.__args__[1].model_fields)
    assert written == {field.name for field in dataclasses.fields(HostSettings)} - {"name"}
    http = ConfigFile.model_fields["http"].annotation
    assert set(http.model_fields) == {field.name for field in dataclasses.fields(HttpSettings)}


def test_the_start_that_init_writes_names_only_keys_that_exist() -> None:
    uncommented = re.sub(r"^# (?=\w+ = |\[|\")", "", CONFIG_TEXT, flags=re.MULTILINE)
    shape = ConfigFile.model_validate(tomllib.loads(uncommented))
    assert set(shape.hosts) == {"sandbox", "web1"}
    assert shape.inventory.labels
    assert shape.redact.values


def test_init_leaves_what_is_there(tmp_path: Path) -> None:
    first, _ = write_start(tmp_path)
    again, kept = write_start(tmp_path)
    assert (len(first), again, kept) == (2, [], first)
    assert embedded(tmp_path / "state").hosts["sandbox"].workspace == (str(tmp_path / "state-sandbox"),)
