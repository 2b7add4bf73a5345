"""Logs: one JSON object per line on stderr, without payloads. ``log_events`` lists all events."""

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import ExcInfo

from stream import __version__
from stream.codec.json_text import escaped

log = structlog.get_logger()

Fields = structlog.typing.EventDict

WORDS_LENGTH_MAX = 200
WINDOW_S = 10.0
WINDOW_LINES_MAX = 5
WINDOW_ERRORS_MAX = 20
SAME = ("event", "level", "reason", "change", "circuit", "partition", "error", "where")
"""Lines with equal fields of these names are repetitions; numbers in ``WORDS`` are ignored."""
WORDS = ("reason", "error")
_NUMBER = re.compile(r"\d+")
_VALUE = re.compile(r"[<({\['\"]")
"""Start of a value that a library may have formatted into its message, as asyncio does."""


def configure(*, level: str, as_json: bool, instance: str) -> None:
    """Configure all loggers to write lines of this level and above to stderr."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _count,
            Sampler(),
            _add_origin(instance),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.ExceptionRenderer(_traceback),
            *(() if as_json else (_escape,)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger().handlers = [_Libraries(logging.WARNING)]


def audit_log(file: TextIO, *, instance: str) -> Any:
    """Return a logger that writes every line as JSON to this file, whatever the level of others."""
    return structlog.wrap_logger(
        structlog.WriteLogger(file),
        processors=[
            structlog.processors.add_log_level,
            _add_origin(instance),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


class _Libraries(logging.Handler):
    """Logs the messages of libraries as our events, without the values formatted into them,
    which may be personal data or secrets.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as ``library_error`` or ``library_warning``."""
        message = _VALUE.split(str(record.msg).partition("\n")[0])[0].strip()
        fields: dict[str, Any] = {"where": f"{record.name}: {message}"[:WORDS_LENGTH_MAX]}
        if record.exc_info and record.exc_info[0] is not None:
            fields |= {
                "error": record.exc_info[0].__name__,
                "exception": _traceback(record.exc_info),
            }
        if record.levelno >= logging.ERROR:
            log.error("library_error", **fields)
        else:
            log.warning("library_warning", **fields)


class Sampler:
    """Limits repeated lines per window and counts the rest.

    The limit is higher for errors, since most of them report a change of state. The next line
    that passes has the number of suppressed lines in ``suppressed``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, ...], tuple[float, int]] = {}  # begin, lines left

    def __call__(self, _: object, __: str, fields: Fields) -> Fields:
        """Return the line.

        Raises:
            structlog.DropEvent: the line is suppressed.
        """
        now = self._clock()
        limit = WINDOW_ERRORS_MAX if fields["level"] in {"error", "critical"} else WINDOW_LINES_MAX
        key = tuple(
            _NUMBER.sub("#", str(fields.get(name))) if name in WORDS else str(fields.get(name))
            for name in SAME
        )
        with self._lock:
            began_at, left = self._windows.get(key, (now, limit))
            suppressed = 0
            if now - began_at >= WINDOW_S:
                suppressed = max(0, -left)
                began_at, left = now, limit
                self._forget(now)
            self._windows[key] = (began_at, left - 1)
        if left <= 0:
            raise structlog.DropEvent
        return {**fields, "suppressed": suppressed} if suppressed else fields

    def _forget(self, now: float) -> None:
        """Drop expired windows without suppressed lines, so that they do not accumulate."""
        self._windows = {
            key: (began_at, left)
            for key, (began_at, left) in self._windows.items()
            if now - began_at < WINDOW_S or left < 0
        }


class _Listener:
    """Counts lines, including suppressed ones; None until there are metrics."""

    def __init__(self) -> None:
        self.count: Callable[[str, str], None] | None = None


_listener = _Listener()


def listen(count: Callable[[str, str], None]) -> None:
    """Call ``count`` with the event and the level of every line."""
    _listener.count = count


def _count(_: object, __: str, fields: Fields) -> Fields:
    if _listener.count is not None:
        _listener.count(str(fields["event"]), str(fields["level"]))
    return fields


def _add_origin(instance: str) -> structlog.typing.Processor:
    """Add the service and the instance. Context variables would not reach the client's threads."""
    origin = {"service": "wootric-stream", "version": __version__, "instance": instance}

    def sign(_: object, __: str, fields: Fields) -> Fields:
        return {**origin, **fields}

    return sign


_traced = ExceptionDictTransformer(show_locals=False, use_rich=False)


def _traceback(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Return an exception's traceback without its message and the variables of its frames:
    both may contain personal data or a secret.
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
    return escaped(orjson.dumps(value, default=str).decode())


def _escape(_: object, __: str, fields: Fields) -> Fields:
    """Escape texts for a terminal: some are of brokers and servers. Tracebacks become lines."""
    shown: Fields = {
        name: escaped(value) if isinstance(value, str) else value for name, value in fields.items()
    }
    if "exception" in shown:
        kinds = (
            (f"caused by {one['type']}" if one["cause"] else one["type"], one["frames"])
            for one in shown["exception"]
        )
        shown["exception"] = "\n  ".join(line for kind, at in kinds for line in (kind, *at))
    return shown
