"""Times in options and output: ISO times and ages. Pure."""

import re
from datetime import UTC, datetime

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def parse_time(text: str, now_ms: int) -> int:
    """Return a time in milliseconds since 1970; a time without an offset is UTC.

    Raises:
        ValueError: the text is neither a time nor an age.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now_ms - round(float(ago[1]) * _SECONDS[ago[2]] * 1000)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a time such as 2026-03-02T08:00:00Z nor an age such as 90s, "
            "15m, 2h or 3d"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def format_time(time_ms: float) -> str:
    """Return a time in UTC, in a form that ``parse_time`` reads."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms:.0f} ms"


def format_age(age_ms: float) -> str:
    """Return an age in the largest unit of which it has at least two."""
    seconds = max(0.0, age_ms / 1000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
