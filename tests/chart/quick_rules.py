"""The chart's rules on a faster clock, so that what takes minutes takes seconds."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

UNITS_MS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
PART = re.compile(r"(\d+)(ms|[smhdwy])")
DURATION = rf"(?:{PART.pattern.replace('(', '(?:')})+"
IN_QUERY = re.compile(rf"(\[|\boffset\s+)({DURATION})")
"""Ranges and offsets. Source: prometheus.io, querying basics, time durations."""


def quick(groups: Sequence[Mapping[str, Any]], factor: int) -> list[dict[str, Any]]:
    """Return the rules with ranges, offsets, ``for`` and ``keep_firing_for`` divided by ``factor``.

    Numbers that are compared with seconds stay as they are.
    """
    return [
        {**group, "rules": [_rule(rule, factor) for rule in group["rules"]]} for group in groups
    ]


def _rule(rule: Mapping[str, Any], factor: int) -> dict[str, Any]:
    waits = {
        name: _divided(rule[name], factor) for name in ("for", "keep_firing_for") if name in rule
    }
    expression = IN_QUERY.sub(lambda found: found[1] + _divided(found[2], factor), rule["expr"])
    return {**rule, **waits, "expr": expression}


def _divided(duration: str, factor: int) -> str:
    whole_ms = sum(int(number) * UNITS_MS[unit] for number, unit in PART.findall(duration))
    return f"{whole_ms // factor}ms"
