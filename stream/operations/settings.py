"""settings: the catalogue of all settings, for the command and for the generated page."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, get_args

from stream.errors import StartupError
from stream.operations.output import Table, show
from stream.secret_files import SUFFIX
from stream.settings import SECTIONS
from stream.settings_loader import secret_names


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the environment. ``default`` is empty if there is none, or if the machine
    decides; ``bounds`` are those of a number, such as ``>= 1``.
    """

    name: str
    default: str
    meaning: str
    required: bool
    choices: Sequence[str]
    bounds: str
    may_be_in_a_file: bool


def catalogue() -> Mapping[str, tuple[str, list[Setting]]]:
    """Return the settings by section, with the section's description."""
    secrets = set(secret_names())
    found = {}
    for section, model in SECTIONS.items():
        rows = []
        for field_name, field in model.model_fields.items():
            name = f"{section.upper()}__{field_name.upper()}"
            rows.append(
                Setting(
                    name=name,
                    default=_default(field),
                    meaning=str(field.description),
                    required=field.is_required(),
                    choices=_choices(field.annotation),
                    bounds=_bounds(field.metadata),
                    may_be_in_a_file=name in secrets,
                )
            )
        found[section.upper()] = (str(model.__doc__).split("\n", 1)[0], rows)
    return found


def _default(field: Any) -> str:
    if field.is_required():
        return ""
    if field.default_factory is not None:
        return "{}" if field.default_factory is dict else ""
    default = field.get_default()
    value = default.value if isinstance(default, Enum) else default
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(kind: Any) -> Sequence[str]:
    if kind is bool:
        return ("true", "false")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(one.value) for one in kind)
    return tuple(one for one in get_args(kind) if isinstance(one, str))


def _bounds(constraints: Sequence[Any]) -> str:
    """Return the bounds that annotated_types express, such as ``>= 1, <= 300``."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = (
        f"{sign} {getattr(one, name):,}"
        for one in constraints
        for name, sign in signs.items()
        if hasattr(one, name)
    )
    return ", ".join(found)


# The command


def show_settings(name: str | None, *, as_json: bool) -> None:
    """Print the settings whose names begin so, or all, and whether they are set; never values.

    Raises:
        StartupError: there is none.
    """
    wanted = (name or "").strip().upper().removesuffix(SUFFIX)
    sections = catalogue()
    every = [one for _, rows in sections.values() for one in rows]
    chosen = [one for one in every if one.name == wanted]
    chosen = chosen or [one for one in every if one.name.startswith(wanted)]
    if not chosen:
        close = difflib.get_close_matches(wanted, [one.name for one in every], n=1)
        hint = f"did you mean {close[0]}?" if close else "`wootric-stream settings` lists them"
        raise StartupError(f"there is no setting {wanted}; {hint}", exit_code=1)
    given = {variable.upper() for variable in os.environ}
    documents = [{**asdict(one), "set": _is_set(one, given)} for one in chosen]
    parts: Sequence[Table | str] = [
        Table(
            f"{section}: {about}",
            ("setting", "default", "set", "meaning"),
            _rows([one for one in rows if one in chosen], given),
        )
        for section, (about, rows) in sections.items()
    ]
    if len(chosen) == 1:
        parts = _explained(chosen[0], is_set=_is_set(chosen[0], given))
    show({"settings": documents}, parts, as_json=as_json)


def _is_set(one: Setting, given: set[str]) -> bool:
    return one.name in given or (one.may_be_in_a_file and f"{one.name}{SUFFIX}" in given)


def _rows(rows: Sequence[Setting], given: set[str]) -> list[tuple[str, ...]]:
    return [
        (
            one.name,
            "required" if one.required else one.default,
            "yes" if _is_set(one, given) else "",
            one.meaning,
        )
        for one in rows
    ]


def _explained(one: Setting, *, is_set: bool) -> list[str]:
    facts = {
        "default": "none, it is required" if one.required else one.default or "empty",
        "values": ", ".join(one.choices) or one.bounds,
        "file": f"{one.name}{SUFFIX} may be the path of a file" * one.may_be_in_a_file,
        "set here": "yes" if is_set else "no",
    }
    lines = [f"  {name:<9} {text}" for name, text in facts.items() if text]
    return [one.name, f"  {one.meaning}", *lines]
