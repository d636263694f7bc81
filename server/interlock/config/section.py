"""What every table of `interlock.toml` shares: nothing unknown, nothing bent into another type, nothing echoed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file: unknown keys are errors, and no value is bent into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)
