"""Dates in text as ``new Date(text)`` reads them in V8, with the local zone set to UTC.

First the date-time string of ECMA-262 (``2018-08-03T15:28:46.493Z``), with V8's extensions:
years of six digits and a sign, any number of decimals, ``+hhmm``. What is none is read in
free form; an ISO date at its beginning keeps its meaning (``2018-08-03 15:28``).

Source: ECMA-262, date time string format; V8, ``src/date/dateparser-inl.h`` (v8/v8 at 0fa243af).
The cases of the tests are node 20's answers.
"""

import re

from stream.codec.civil_time import clock_ms, utc_ms
from stream.codec.date_tokens import Token
from stream.codec.free_form_date import FreeFormDate

_YEAR = r"(?P<year>(?!-000000)[+-][0-9]{6}|[0-9]{4})(?![0-9])"
_MONTH = r"(?P<month>0[1-9]|1[0-2])(?![0-9])"
_DAY = r"(?P<day>0[1-9]|[12][0-9]|3[01])(?![0-9])"
_ISO = re.compile(
    rf"{_YEAR}(?:-{_MONTH}(?:-{_DAY})?)?"
    r"(?P<time>[Tt](?P<hour>[01][0-9]|2[0-4]):(?P<minute>[0-5][0-9])"
    r"(?::(?P<second>[0-5][0-9])(?:\.(?P<fraction>[0-9]+))?)?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<zone_hour>[01][0-9]|2[0-3]):?(?P<zone_minute>[0-5][0-9]))?)?"
)
_ISO_HEAD = re.compile(rf"{_YEAR}(?:-(?:{_MONTH}(?:-(?:{_DAY})?)?)?)?|-000000(?![0-9])")


def parse_ms(text: str) -> int | None:
    """Return the milliseconds since 1970, or None where JavaScript has an invalid date."""
    text = text.partition("\0")[0]  # V8's reader takes a NUL for the end
    if iso := _ISO.fullmatch(text):
        return _iso_ms(iso)
    head = _ISO_HEAD.match(text)
    if head is None:
        return FreeFormDate(text, []).parse_ms()
    day = [int(part) for part in head.groups() if part]
    return FreeFormDate(text[head.end() :], day).parse_ms()


def _iso_ms(iso: re.Match[str]) -> int | None:
    fraction = Token("number", iso["fraction"] or "0").milliseconds
    hour, minute, second = (int(iso[name] or 0) for name in ("hour", "minute", "second"))
    if hour == 24 and (minute or second or (iso["fraction"] or "").strip("0")):
        return None
    offset = clock_ms(int(iso["zone_hour"] or 0), int(iso["zone_minute"] or 0), 0, 0)
    return utc_ms(
        int(iso["year"]),
        int(iso["month"] or 1),
        int(iso["day"] or 1),
        clock_ms(hour, minute, second, fraction) + (offset if iso["sign"] == "-" else -offset),
    )
