"""Declaring: the shorthand in which the families write their fields. One function, one field; it checks nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from interlock_tools.call import Json
from interlock_tools.fields import Field, Form, Kind, fits_inline

PATH_CHARS_MAX = 4_096
POSITION_MAX = 2**53 - 1  # the largest integer that every JSON reader keeps

_NOTHING: Mapping[str, str] = MappingProxyType({})


def text(
    name: str,
    description: str,
    *also: str,
    form: Form = Form.TEXT,
    required: bool = False,
    default: Json = None,
    chars_min: int = 0,
    chars_max: int = 1_000,
    published: bool = False,
) -> Field:
    """A string of a form."""
    return Field(
        name,
        Kind.STRING,
        description,
        required,
        default,
        form,
        chars_min,
        chars_max,
        bounds_published=published,
        also=also,
    )


def path(name: str, description: str, *also: str, required: bool = True) -> Field:
    """An absolute path of the host."""
    return text(name, description, *also, form=Form.PATH, required=required, chars_min=1, chars_max=PATH_CHARS_MAX)


def number(
    name: str,
    description: str,
    *also: str,
    maximum: int,
    minimum: int = 0,
    default: int | None = None,
    published: bool = False,
    clamps: bool = True,
) -> Field:
    """An integer within bounds; -1 stands for one that was not sent and has no default."""
    return Field(
        name,
        Kind.INTEGER,
        description,
        default=default,
        minimum=minimum,
        maximum=maximum,
        bounds_published=published,
        clamps=clamps,
        also=also,
    )


def flag(name: str, description: str, *also: str, default: bool = False) -> Field:
    """A boolean."""
    return Field(name, Kind.BOOLEAN, description, default=default, also=also)


def choice(
    name: str,
    description: str,
    choices: tuple[str, ...],
    *also: str,
    default: str | None = None,
    means: Mapping[str, str] = _NOTHING,
    published: bool = True,
) -> Field:
    """One of some words; required where it has no default."""
    return Field(
        name,
        Kind.CHOICE,
        description,
        required=default is None,
        default=default,
        choices=choices,
        choices_published=published,
        also=also,
        means=means,
    )


def texts(
    name: str, description: str, *also: str, form: Form, chars_max: int, items_max: int, choices: tuple[str, ...] = ()
) -> Field:
    """A list of strings of a form, each of them from `choices` where there are any."""
    return Field(
        name,
        Kind.STRINGS,
        description,
        form=form,
        chars_min=1,
        chars_max=chars_max,
        items_max=items_max,
        choices=choices,
        choices_published=fits_inline(choices),
        also=also,
    )
