"""Times as Segment parses them: a number, digits, an ISO string, or any date of a browser.

The local zone is always UTC. Source: segmentio/new-date with @segment/isodate 1.0.3,
compared value by value under ``TZ=UTC``. Its surprises are kept: 30 February and month
13 roll over, year 1 is 1901, and a zone is ignored after a blank instead of ``T``.
"""

import math
import re
from datetime import UTC, datetime

from stream.codec.js_date import BLANKS, clip_ms, clock_ms, parse_ms, utc_ms

_SECONDS_BELOW = 31_557_600_000  # smaller numbers are seconds, others milliseconds

_TEXT_LENGTH_MAX = 256  # no date is longer, and a megabyte of garbage should cost nothing
_NUMBER_MAX = 2**63  # no time is beyond, and Python does not write arbitrarily long integers

_ISO = re.compile(
    r"(?P<year>\d{4})(?:-?(?P<month>\d{2})(?:-?(?P<day>\d{2}))?)?"
    r"(?:(?P<separator>[ T])(?P<hour>\d{2}):?(?P<minute>\d{2})"
    r"(?::?(?P<second>\d{2})(?:[,.](?P<fraction>\d+))?)?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_hour>\d{2})(?::?(?P<zone_minute>\d{2}))?)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FULL_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DIGITS = (
    (re.compile(r"\d{13}", re.ASCII), 1, "text with 13 digits, read as milliseconds"),
    (re.compile(r"\d{10}", re.ASCII), 1000, "text with 10 digits, read as seconds"),
)
_LEADING_INTEGER = re.compile(rf"[{BLANKS}\u2028\u2029]*([+-]?[0-9]+)")


def read_time_ms(value: object) -> int | None:
    """Return the Unix milliseconds of a JSON value, None if unreadable.

    Every JSON value except null is accepted: true is one millisecond, a list is read as its text.
    """
    match value:
        case bool():
            return int(value)
        case int() | float():
            return _number_ms(value)
        case str():
            usual_ms = _usual_ms(value)
            return _any_text_ms(value) if usual_ms is None else usual_ms
        case [str(text)] if (date_ms := read_iso_date_ms(text)) is not None:
            return date_ms // 1000 * 1000  # the text of a JavaScript date has no milliseconds
        case list():
            return _text_ms(",".join(map(_text_of_item, value)))
        case _:
            return None


def how_read(value: object) -> str:
    """Return a description of how ``read_time_ms`` reads a value."""
    match value:
        case bool():
            return "true, read as one millisecond"
        case int() | float():
            unit = "seconds" if value < _SECONDS_BELOW else "milliseconds"
            return f"number, read as {unit}"
        case str() if _ISO.fullmatch(value):
            return "ISO date or time"
        case str():
            words = (words for pattern, _, words in _DIGITS if pattern.search(value))
            return next(words, "text, read as a browser reads it, in UTC")
        case _:
            return "list, read as its text"


def read_iso_date_ms(text: str) -> int | None:
    """Return the time of an ISO string with year, month and day; None for any other."""
    if text[4:5] != "-":  # asked first: most texts are no date
        return None
    usual_ms = _usual_ms(text)
    if usual_ms is None and _FULL_DAY.match(text) and (iso := _ISO.fullmatch(text)):
        return _iso_ms(iso)
    return usual_ms


def as_seconds(time_ms: int) -> int:
    """Return whole seconds, with half a second rounded up, also before 1970.

    Python's ``round`` rounds half to even, JavaScript's ``Math.round`` rounds half up.
    """
    return (time_ms + 500) // 1000


def _number_ms(number: float) -> int | None:
    time_ms = number * 1000 if number < _SECONDS_BELOW else number
    if isinstance(time_ms, float) and not math.isfinite(time_ms):
        return None
    return clip_ms(int(time_ms))


def _usual_ms(text: str) -> int | None:
    """Return the time of ``2018-08-03T15:28:46.493Z``, with or without milliseconds; None for most
    other texts.

    It is what ``_any_text_ms`` returns, at a sixth of the cost. Years below 100 are left to that.
    """
    if len(text) not in (20, 24) or (text[4], text[7], text[10], text[-1]) != ("-", "-", "T", "Z"):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    return None if moment.year < 100 else seconds * 1000 + since.microseconds // 1000


def _any_text_ms(text: str) -> int | None:
    iso = _ISO.fullmatch(text)
    return _iso_ms(iso) if iso else _text_ms(text)


def _text_ms(text: str) -> int | None:
    if len(text) > _TEXT_LENGTH_MAX:
        return None
    for pattern, factor, _ in _DIGITS:
        if pattern.search(text):
            return _leading_integer_ms(text, factor)
    return parse_ms(text)


def _iso_ms(iso: re.Match[str]) -> int | None:
    def part(name: str) -> int:
        return int(iso[name] or 0)

    year = part("year")
    offset_ms = clock_ms(part("zone_hour"), part("zone_minute"), 0, 0)
    if iso["sign"] is None or iso["separator"] == " ":
        offset_ms = 0
    elif iso["sign"] == "-":
        offset_ms = -offset_ms
    millisecond = int(((iso["fraction"] or "") + "000")[:3])
    time_ms = clock_ms(part("hour"), part("minute"), part("second"), millisecond)
    return utc_ms(
        year + 1900 if year < 100 else year,  # as Date.UTC does
        part("month") or 1,
        part("day") or 1,
        time_ms - offset_ms,
    )


def _leading_integer_ms(text: str, factor: int) -> int | None:
    """Return the number at the start of a text, as JavaScript's ``parseInt`` does."""
    match = _LEADING_INTEGER.match(text)
    number = float(match[1]) * factor if match else math.inf
    return clip_ms(int(number)) if math.isfinite(number) else None


def _text_of_item(item: object) -> str:
    """Return a value in a list as JavaScript writes it there."""
    match item:
        case str():
            return item
        case float() if item.is_integer():
            return f"{item:.0f}"
        case bool() | int() | float() if abs(item) < _NUMBER_MAX:
            return str(item).lower()
        case None:
            return ""
        case _:
            return "[object Object]"
