"""Days and times of day to milliseconds since 1970, for every year a JavaScript date has."""

from datetime import date

_TIME_MS_MAX = 8_640_000_000_000_000  # ECMA-262, time values and time range
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097  # the Gregorian calendar repeats itself
_EPOCH_DAYS = date(1970, 1, 1).toordinal()


def utc_ms(year: int, month: int, day: int, clock_ms: int) -> int | None:
    """Return the milliseconds since 1970 of a day and a time of day.

    Months and days beyond their end roll over, as in JavaScript's ``Date.UTC``; None when
    the result is out of the range of a date.
    """
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    cycles, year_of_cycle = divmod(year, _CYCLE_YEARS)
    days = date(year_of_cycle + _CYCLE_YEARS, month, 1).toordinal() - _EPOCH_DAYS
    days += (cycles - 1) * _CYCLE_DAYS + day - 1
    return clip_ms(days * 86_400_000 + clock_ms)


def clip_ms(time_ms: int) -> int | None:
    """Return the time, or None when a JavaScript date cannot hold it."""
    return time_ms if abs(time_ms) <= _TIME_MS_MAX else None


def clock_ms(hour: int, minute: int, second: int, millisecond: int) -> int:
    """Return the milliseconds since midnight."""
    return ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
