"""Logs: one JSON object a line on stderr, without payloads. ``log_events`` lists what is logged."""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import ExcInfo

from stream import __version__

log = structlog.get_logger()

Fields = structlog.typing.EventDict

WORDS_LENGTH_MAX = 200
WINDOW_S = 10.0
WINDOW_LINES_MAX = 5
WINDOW_ERRORS_MAX = 20
SAME = ("event", "level", "reason", "change", "circuit", "partition", "error", "where")
"""Lines that agree in these say the same; in their words ports and times count for nothing."""
WORDS = ("reason", "error")
_NUMBER = re.compile(r"\d+")
_VALUE = re.compile(r"[<({\['\"]")
"""Where a value may begin that a library has put into its text itself, as asyncio does."""


def configure(*, level: str, as_json: bool, instance: str) -> None:
    """Let every logger write lines of this level and above to stderr."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _tally,
            Sampler(),
            _signature(instance),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.ExceptionRenderer(_way) if as_json else _as_it_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger().handlers = [_Libraries(logging.WARNING)]


class _Libraries(logging.Handler):
    """Takes over what libraries log by Python's own means: as our lines, without what was put
    into their texts, which may be a person's or a secret.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Say it in our log."""
        says = _VALUE.split(str(record.msg).partition("\n")[0])[0].strip()
        fields: dict[str, Any] = {"where": f"{record.name}: {says}"[:WORDS_LENGTH_MAX]}
        if record.exc_info and record.exc_info[0] is not None:
            fields |= {"error": record.exc_info[0].__name__, "exception": _way(record.exc_info)}
        if record.levelno >= logging.ERROR:
            log.error("library_error", **fields)
        else:
            log.warning("library_warning", **fields)


class Sampler:
    """Lets some lines that say the same through in a while, and counts the others.

    Of errors more pass, since most of them are a change of state. The next line that passes
    tells how many were left out, in ``suppressed``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, ...], tuple[float, int]] = {}  # begin, lines left

    def __call__(self, _: object, __: str, fields: Fields) -> Fields:
        """Return the line, or drop it."""
        now = self._clock()
        most = WINDOW_ERRORS_MAX if fields["level"] in {"error", "critical"} else WINDOW_LINES_MAX
        key = tuple(
            _NUMBER.sub("#", str(fields.get(name))) if name in WORDS else str(fields.get(name))
            for name in SAME
        )
        with self._lock:
            began_at, left = self._windows.get(key, (now, most))
            suppressed = 0
            if now - began_at >= WINDOW_S:
                suppressed = max(0, -left)
                began_at, left = now, most
                self._forget(now)
            self._windows[key] = (began_at, left - 1)
        if left <= 0:
            raise structlog.DropEvent
        return {**fields, "suppressed": suppressed} if suppressed else fields

    def _forget(self, now: float) -> None:
        """Drop windows in which nothing was left out, so that they do not pile up."""
        self._windows = {
            key: (began_at, left)
            for key, (began_at, left) in self._windows.items()
            if now - began_at < WINDOW_S or left < 0
        }


class _Listener:
    """Who counts lines, suppressed ones included; nobody until there are metrics."""

    def __init__(self) -> None:
        self.count: Callable[[str, str], None] | None = None


_listener = _Listener()


def listen(count: Callable[[str, str], None]) -> None:
    """Let every line be told: its event and its level."""
    _listener.count = count


def _tally(_: object, __: str, fields: Fields) -> Fields:
    if _listener.count is not None:
        _listener.count(str(fields["event"]), str(fields["level"]))
    return fields


def _signature(instance: str) -> structlog.typing.Processor:
    """Add who speaks; context variables would not reach the client's threads."""
    who = {"service": "wootric-stream", "version": __version__, "instance": instance}

    def sign(_: object, __: str, fields: Fields) -> Fields:
        return {**who, **fields}

    return sign


_traced = ExceptionDictTransformer(show_locals=False, use_rich=False)


def _way(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Return where an exception came from. Its words are left out like the variables of its
    frames: either may hold what a person wrote, or a secret.
    """
    return [
        {
            "type": one["exc_type"],
            "cause": one["is_cause"],
            "frames": [f"{at['filename']}:{at['lineno']} {at['name']}" for at in one["frames"]],
        }
        for one in _traced(exc_info)
    ]


def _dumps(value: object, **_: object) -> str:
    return orjson.dumps(value, default=str).decode()


def _as_it_is(_: object, __: str, fields: Fields) -> Fields:
    return fields
