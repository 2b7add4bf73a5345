"""Dates in text, parsed like ``new Date(text)`` in V8 with the local zone set to UTC.

First the date-time string of ECMA-262 (``2018-08-03T15:28:46.493Z``) is tried, with V8's
extensions: years of six digits and a sign, any number of decimals, ``+hhmm``. Any other text is
parsed in free form; an ISO date at its start keeps its meaning (``2018-08-03 15:28``).

Source: ECMA-262, date time string format; V8, ``src/date/dateparser-inl.h`` (v8/v8 at 0fa243af).
The expected values of the tests are node 20's.
"""

import re
from datetime import date
from typing import NamedTuple

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
    """Return Unix milliseconds, or None where JavaScript returns an invalid date."""
    text = text.partition("\0")[0]  # V8's parser treats NUL as the end
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


# Tokens of a date in free form, split as in V8.
#
# Source: V8, ``src/date/dateparser-inl.h`` (v8/v8 at 0fa243af).


_NUMBER_DIGITS_MAX = 9  # further digits of a number are ignored

BLANKS = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\ufeff"
_TOKEN = re.compile(
    rf"(?P<number>[0-9]+)|(?P<sign>[+-])|(?P<blank>[{BLANKS}])"
    rf"|(?P<word>(?:(?![{BLANKS}])[A-\U0010ffff])+)|(?P<other>.)",
    re.DOTALL,
)


class Token(NamedTuple):
    """A piece of the text; ``kind`` is number, sign, blank, word, other or end."""

    kind: str
    text: str

    @property
    def number(self) -> int:
        """The value of the digits, 0 without digits."""
        return int(self.text.lstrip("0")[:_NUMBER_DIGITS_MAX] or "0")

    @property
    def milliseconds(self) -> int:
        """The digits as decimals of a second, truncated to milliseconds."""
        unit: int = 10 ** min(len(self.text), _NUMBER_DIGITS_MAX)
        return self.number * 1000 // unit


END = Token("end", "")


def read_tokens(text: str) -> list[Token]:
    """Return the tokens of a text, and END; text in parentheses is skipped after its "("."""
    tokens: list[Token] = []
    position = 0
    while match := _TOKEN.match(text, position):
        tokens.append(Token(match.lastgroup or "other", match[0]))
        position = match.end()
        if match[0] == "(":
            depth = 1
            while depth and position < len(text):
                depth += {"(": 1, ")": -1}.get(text[position], 0)
                position += 1
    return [*tokens, END]


# Dates in free form, parsed as V8 parses those that are not ISO strings.
#
# Words before the first number and text in parentheses are ignored, ``n:`` belongs to the
# clock, a month is recognized by its first three letters, ``+hhmm`` after a time is its zone. Up
# to three plain numbers are month, day and year, or year, month and day if the first cannot
# be a day; with a month's name, day and year. A year below 50 is in this century, below
# 100 in the last one.
#
# Source: V8, ``src/date/dateparser-inl.h`` and ``dateparser.cc`` (v8/v8 at 0fa243af, 878ccb33).


_OFFSET_S_MAX = 2**31 - 1  # V8 stores the seconds of a zone in 32 bits and uses 31 of them
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_HALF_DAYS = {"am": 0, "pm": 12}
_ZONE_HOURS = {
    "ut": 0,
    "utc": 0,
    "z": 0,
    "gmt": 0,
    "edt": -4,
    "est": -5,
    "cdt": -5,
    "cst": -6,
    "mdt": -6,
    "mst": -7,
    "pdt": -7,
    "pst": -8,
}


class FreeFormDate:
    """Parser of a date in free form.

    ``day`` has the numbers of the date that precede ``text``.
    """

    def __init__(self, text: str, day: list[int]) -> None:
        self._day = list(day)
        self._tokens = read_tokens(text)
        self._next = 0
        self._number_seen = bool(self._day)
        self._month: int | None = None
        self._clock: list[int] = []
        self._half_day: int | None = None
        self._zone_sign: int | None = None
        self._zone_hour: int | None = None
        self._zone_minute: int | None = None

    def parse_ms(self) -> int | None:
        """Return Unix milliseconds, or None if the text is not a date."""
        while (token := self._take()) is not END:
            match token.kind:
                case "number":
                    understood = self._read_number(token)
                case "word":
                    understood = self._read_word(token.text)
                case "sign" if self._clock or (self._zone_hour, self._zone_minute) == (0, 0):
                    understood = self._read_offset(token.text)
                case "sign":
                    understood = not self._number_seen
                case _:
                    understood = token.text != ")" or not self._number_seen
            if not understood:
                return None
        return self._result_ms()

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        if token is not END:
            self._next += 1
        return token

    def _skip(self, text: str) -> bool:
        found = self._peek().text == text
        self._next += found
        return found

    def _read_number(self, token: Token) -> bool:
        self._number_seen = True
        number = token.number
        if self._skip(":"):
            return self._read_clock_part(number)
        if self._skip(".") and self._clock_expects(number):
            self._clock.append(number)
            fraction = self._take()
            self._finish_clock(fraction.milliseconds if fraction.kind == "number" else 0)
            return fraction.kind == "number"
        if self._zone_hour is not None and self._zone_minute is None and number < 60:
            self._zone_minute = number
            return True
        if self._clock_expects(number):
            self._finish_clock(number)
            after = self._peek()
            return after.kind in {"end", "blank", "sign"} or after.text in {"z", "Z"}
        self._day.append(number)
        self._skip("-")
        return len(self._day) <= 3

    def _read_clock_part(self, number: int) -> bool:
        if self._skip(":"):  # "n::" is n with an empty next part
            was_empty = not self._clock
            self._clock += [number, 0]
            return was_empty
        self._clock.append(number)
        self._skip(".")
        return len(self._clock) <= 4

    def _clock_expects(self, number: int) -> bool:
        limits = {1: 60, 2: 60, 3: 1000}
        return number < limits.get(len(self._clock), 0)

    def _finish_clock(self, number: int) -> None:
        self._clock = [*self._clock, number, 0, 0, 0][:4]

    def _read_word(self, word: str) -> bool:
        key = word[:3].lower()
        short = len(word) <= 3
        if short and key in _HALF_DAYS and self._clock:
            self._half_day = _HALF_DAYS[key]
        elif key in _MONTHS:
            self._month = _MONTHS.index(key) + 1
            self._skip("-")
        elif short and key in _ZONE_HOURS and self._number_seen:
            hours = _ZONE_HOURS[key]
            self._zone_sign, self._zone_hour, self._zone_minute = hours, abs(hours), 0
        else:
            return not self._number_seen and self._peek().kind != "number"
        return True

    def _read_offset(self, sign: str) -> bool:
        self._number_seen = True
        self._zone_sign = -1 if sign == "-" else 1
        offset = self._take() if self._peek().kind == "number" else END
        if self._peek().text == ":":
            self._zone_hour, self._zone_minute = offset.number, None
        elif len(offset.text) in {1, 2}:
            self._zone_hour, self._zone_minute = offset.number, 0
        elif len(offset.text) in {3, 4}:
            self._zone_hour, self._zone_minute = divmod(offset.number, 100)
        else:
            return False
        return True

    def _result_ms(self) -> int | None:
        day, clock, offset = self._civil_day(), self._time_of_day_ms(), self._offset_seconds()
        if day is None or clock is None or offset > _OFFSET_S_MAX:
            return None
        if (self._zone_sign or 0) < 0:
            offset = -offset
        return utc_ms(*day, clock - offset * 1000)

    def _civil_day(self) -> tuple[int, int, int] | None:
        if not self._day:
            return None
        first, second, third = [*self._day, 1, 1][:3]
        is_day = 1 <= first <= 31
        if self._month is not None:
            month, day, year = self._month, *((first, second) if is_day else (second, first))
        elif is_day:
            month, day, year = first, second, third
        else:
            year, month, day = first, second, third
        if 0 <= year < 100:
            year += 2000 if year < 50 else 1900
        return (year, month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None

    def _time_of_day_ms(self) -> int | None:
        hour, minute, second, millisecond = [*self._clock, 0, 0, 0, 0][:4]
        if self._half_day is not None:
            if hour > 12:
                return None
            hour = hour % 12 + self._half_day
        midnight = (hour, minute, second, millisecond) == (24, 0, 0, 0)
        if not midnight and (hour > 23 or minute > 59 or second > 59 or millisecond > 999):
            return None
        return clock_ms(hour, minute, second, millisecond)

    def _offset_seconds(self) -> int:
        if self._zone_sign is None:
            return 0
        return ((self._zone_hour or 0) * 3600 + (self._zone_minute or 0) * 60) % 2**32


# Days and times of day to Unix milliseconds, for every year of a JavaScript date


_TIME_MS_MAX = 8_640_000_000_000_000  # ECMA-262, time values and time range
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097  # period of the Gregorian calendar
_EPOCH_DAYS = date(1970, 1, 1).toordinal()


def utc_ms(year: int, month: int, day: int, clock_ms: int) -> int | None:
    """Return the Unix milliseconds of a day and a time of day.

    Months and days beyond their end roll over, as in JavaScript's ``Date.UTC``; None if
    the result is out of the range of a date.
    """
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    cycles, year_of_cycle = divmod(year, _CYCLE_YEARS)
    days = date(year_of_cycle + _CYCLE_YEARS, month, 1).toordinal() - _EPOCH_DAYS
    days += (cycles - 1) * _CYCLE_DAYS + day - 1
    return clip_ms(days * 86_400_000 + clock_ms)


def clip_ms(time_ms: int) -> int | None:
    """Return the time, or None if a JavaScript date cannot represent it."""
    return time_ms if abs(time_ms) <= _TIME_MS_MAX else None


def clock_ms(hour: int, minute: int, second: int, millisecond: int) -> int:
    """Return the milliseconds since midnight."""
    return ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
