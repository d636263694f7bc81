"""What most commands share: their options, the settings that hold, and the way to the owner of the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from interlock.cli.ending import failures

if TYPE_CHECKING:
    from interlock.control.reach import Caller
    from interlock.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

as_json = click.option("--json", "in_json", is_flag=True, help="Print JSON instead of something to read.")


def with_config(command: Callable[P, R]) -> Callable[P, R]:
    """The option --config, and one typed line for every failure."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The interlock.toml to use; else $INTERLOCK_CONFIG, the user's own, or the embedded default.",
    )
    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with failures():
            return command(*args, **kwargs)

    return guarded


def settings_of(config: Path | None) -> Settings:
    """The settings that hold. Raises ConfigFault."""
    from interlock.config import settings_for

    return settings_for(config)


def ask(config: Path | None, method: str, **params: Any) -> Any:
    """One operation, through the owner or as the owner; its JSON value."""

    async def once(caller: Caller) -> Any:
        return await caller.call(method, **params)

    return with_owner(config, once)


def with_owner(config: Path | None, work: Callable[[Caller], Awaitable[R]]) -> R:
    """Several operations in one go."""
    import asyncio

    from interlock.control.reach import reach

    settings = settings_of(config)

    async def go() -> R:
        async with reach(settings) as caller:
            return await work(caller)

    return asyncio.run(go())
