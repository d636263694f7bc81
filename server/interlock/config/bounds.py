"""The table [limits]: every limit with its bounds and meaning. The defaults are those of `settings.Limits`."""

from __future__ import annotations

from pydantic import Field

from interlock.config.section import Section
from interlock.settings import Limits

_LIMITS = Limits()


class LimitsSection(Section):
    """The table [limits]."""

    budget_units_per_day: int = Field(
        default=_LIMITS.budget_units_per_day,
        ge=0,
        le=10**9,
        description="Risk units a principal may spend a day.",
    )
    rate_calls_per_minute: int = Field(
        default=_LIMITS.rate_calls_per_minute,
        ge=1,
        le=10**6,
        description="Calls a principal may make a minute.",
    )
    rate_burst_calls: int = Field(
        default=_LIMITS.rate_burst_calls,
        ge=1,
        le=10**6,
        description="Calls that may come at once within that rate.",
    )
    host_calls_max: int = Field(
        default=_LIMITS.host_calls_max,
        ge=1,
        le=10_000,
        description="Calls that run on one host at once.",
    )
    principal_calls_max: int = Field(
        default=_LIMITS.principal_calls_max,
        ge=1,
        le=10_000,
        description="Calls of one principal that run at once.",
    )
    loop_repeats_max: int = Field(
        default=_LIMITS.loop_repeats_max,
        ge=1,
        le=1_000,
        description="Same calls with the same result before a refusal.",
    )
    loop_pause_repeats_max: int = Field(
        default=_LIMITS.loop_pause_repeats_max,
        ge=1,
        le=1_000,
        description="The same, before the session is paused.",
    )
    timeout_seconds_max: int = Field(
        default=_LIMITS.timeout_seconds_max,
        ge=1,
        le=86_400,
        description="The longest a call may ask to run.",
    )
    wait_seconds_max: int = Field(
        default=_LIMITS.wait_seconds_max,
        ge=0,
        le=3_600,
        description="The longest a call may ask to be waited for.",
    )
    approve_within_seconds: int = Field(
        default=_LIMITS.approve_within_seconds,
        ge=10,
        le=604_800,
        description="How long an approval can be given.",
    )
    execute_within_seconds: int = Field(
        default=_LIMITS.execute_within_seconds,
        ge=5,
        le=86_400,
        description="How long a given approval is good.",
    )
    approvals_pending_max: int = Field(
        default=_LIMITS.approvals_pending_max,
        ge=1,
        le=10_000,
        description="Approvals one principal may wait for.",
    )
    connect_timeout_seconds: float = Field(
        default=_LIMITS.connect_timeout_seconds,
        ge=0.5,
        le=120,
        description="Until a host has to answer.",
    )
    login_timeout_seconds: float = Field(
        default=_LIMITS.login_timeout_seconds,
        ge=0.5,
        le=120,
        description="Until a login has to be done.",
    )
    keepalive_seconds: float = Field(
        default=_LIMITS.keepalive_seconds,
        ge=1,
        le=600,
        description="Between two keep-alives of a connection.",
    )
    session_queue_max: int = Field(
        default=_LIMITS.session_queue_max,
        ge=1,
        le=10_000,
        description="Calls that wait for a session of one host.",
    )
    session_wait_seconds: float = Field(
        default=_LIMITS.session_wait_seconds,
        ge=0.1,
        le=600,
        description="How long they wait.",
    )
    attempts_max: int = Field(
        default=_LIMITS.attempts_max,
        ge=1,
        le=10,
        description="Attempts where nothing ran yet, or the call only reads.",
    )
    breaker_failures_max: int = Field(
        default=_LIMITS.breaker_failures_max,
        ge=1,
        le=100,
        description="Transport failures until a host is left alone.",
    )
    breaker_open_seconds: float = Field(
        default=_LIMITS.breaker_open_seconds,
        ge=1,
        le=3_600,
        description="For how long it is left alone.",
    )
    output_bytes_max: int = Field(
        default=_LIMITS.output_bytes_max,
        ge=1_024,
        le=2**30,
        description="Output of one call that is kept.",
    )
    answer_chars_max: int = Field(
        default=_LIMITS.answer_chars_max,
        ge=500,
        le=10**6,
        description="Characters of output in one answer.",
    )
    file_bytes_max: int = Field(
        default=_LIMITS.file_bytes_max,
        ge=1_024,
        le=2**30,
        description="The largest file a tool reads or writes whole.",
    )
    command_chars_max: int = Field(
        default=_LIMITS.command_chars_max,
        ge=64,
        le=2**20,
        description="The longest command.",
    )
    progress_seconds: float = Field(
        default=_LIMITS.progress_seconds,
        ge=1,
        le=300,
        description="Between two progress notifications.",
    )
    record_days_max: int = Field(
        default=_LIMITS.record_days_max,
        ge=1,
        le=36_500,
        description="How long the record is kept.",
    )
    reattach_seconds_max: float = Field(
        default=_LIMITS.reattach_seconds_max,
        ge=1,
        le=3600,
        description="How long a run is sought after its connection broke, before it counts as unknown.",
    )
    layers_held_max: int = Field(
        default=_LIMITS.layers_held_max,
        ge=1,
        le=1000,
        description="Held changes that may wait on one host, and for one principal.",
    )
    layer_hours_max: int = Field(
        default=_LIMITS.layer_hours_max,
        ge=1,
        le=720,
        description="How long a held change waits before it is discarded.",
    )
    layer_changes_max: int = Field(
        default=_LIMITS.layer_changes_max,
        ge=100,
        le=10**6,
        description="The most paths one call may change in a layer.",
    )
    undo_hours_max: int = Field(
        default=_LIMITS.undo_hours_max,
        ge=1,
        le=8760,
        description="How long a landed change can be undone.",
    )
    undo_bytes_max: int = Field(
        default=_LIMITS.undo_bytes_max,
        ge=0,
        le=2**36,
        description="Before-images that one call may keep for its undo.",
    )
    runs_bytes_max: int = Field(
        default=_LIMITS.runs_bytes_max,
        ge=2**20,
        le=2**44,
        description="What the run directories of one host may hold together.",
    )
