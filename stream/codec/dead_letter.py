"""Dead letters and parked records in Kafka: the original record, with the cause in headers.

``schemas/avro/dead_letter.avsc`` describes the same fields; the header ``x-foo-bar`` is the field
``foo_bar``. Letters of the bridge have a header more, ``x-input-topic``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from stream.errors import DecodeError
from stream.record import Partition, Record

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
TRACE_BYTES_MAX = 8 * 1024
DETAIL_LENGTH_MAX = 2_000
"""In characters; ``topics check`` allows 64 KiB for all headers. A truncated messageId is complete
in the value; untruncated, a record's largest field would be in the dead letter twice."""

NOTE_HEADER = "x-note-on"
"""A record with this header is not a dead letter: it records the resolution of an earlier one of
the same topic. The value is the partition-offset of that dead letter."""


INPUT_HEADER = "x-input-topic"
"""A dead letter of the bridge has this header: the input that its event was meant for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that will not be delivered, and the cause.

    The bridge's are events that it did not write to the input: their value is JSON, and
    ``input_topic`` is the input that they were meant for.

    ``reason`` is a word from a bounded set, ``detail`` a sentence for operators. ``replay``
    is the original record's header ``x-replay`` if it was itself a replay, and ``trace`` are its
    headers ``traceparent`` and ``tracestate``, unchanged.
    """

    key: bytes | None
    value: bytes | None
    reason: str
    detail: str
    origin: Partition
    offset: int
    message_id: str | None = None
    http_status: int | None = None
    attempts: int = 0
    failed_at_ms: int
    app_version: str
    replay: str | None = None
    trace: tuple[tuple[str, bytes], ...] = ()
    input_topic: str | None = None

    @property
    def destination(self) -> str:
        """The input topic that the record is in, or was meant for."""
        return self.input_topic or self.origin.topic

    @property
    def record_key(self) -> bytes:
        """The key of the letter's own record: that of the original, or a generated one.

        A compacted topic refuses records without a key, and with them the whole transaction.
        """
        if self.key is not None:
            return self.key
        return _generated_key(self.origin, self.offset, self.failed_at_ms)

    def fitting(self, bytes_max: int) -> Self:
        """Return the dead letter, without key and value if these exceed ``bytes_max`` bytes.

        A topic's limit applies to compressed records. A record that its producer compressed better
        than we do might never be accepted, and nothing after it would be committed.
        """
        size = len(self.key or b"") + len(self.value or b"")
        if size <= bytes_max:
            return self
        detail = f"its {size:,} bytes exceed the limit of a dead letter; {self.detail}"
        return replace(self, key=None, value=None, detail=detail)

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the headers of the record; fields that are None are omitted."""
        values: dict[str, str | int | None] = {
            "x-reason": self.reason,
            "x-detail": self.detail[:DETAIL_LENGTH_MAX],
            "x-origin-topic": self.origin.topic,
            "x-origin-partition": self.origin.number,
            "x-origin-offset": self.offset,
            "x-message-id": None
            if self.message_id is None
            else self.message_id[:DETAIL_LENGTH_MAX],
            "x-http-status": self.http_status,
            "x-attempts": self.attempts,
            "x-failed-at": self.failed_at_ms,
            "x-app-version": self.app_version,
            "x-replay": self.replay,
            INPUT_HEADER: self.input_topic,
        }
        return [
            (name, str(value).encode("utf-8", "replace"))
            for name, value in values.items()
            if value is not None
        ] + list(self.trace)

    @classmethod
    def from_headers(
        cls,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes | None]],
    ) -> Self:
        """Return the dead letter of a record; of repeated headers, the last counts.

        Raises:
            DecodeError: a required header is missing or not a number.
        """
        headers = tuple(headers)
        texts = {
            name: text.decode("utf-8", "replace") for name, text in headers if text is not None
        }
        try:
            status = texts.get("x-http-status")
            origin = Partition(texts["x-origin-topic"], int(texts["x-origin-partition"]))
            offset, failed_at_ms = int(texts["x-origin-offset"]), int(texts["x-failed-at"])
            return cls(
                key=None if key == _generated_key(origin, offset, failed_at_ms) else key,
                value=value,
                reason=texts["x-reason"],
                detail=texts["x-detail"],
                origin=origin,
                offset=offset,
                message_id=texts.get("x-message-id"),
                http_status=None if status is None else int(status),
                attempts=int(texts["x-attempts"]),
                failed_at_ms=failed_at_ms,
                app_version=texts["x-app-version"],
                replay=texts.get("x-replay"),
                trace=trace_headers(headers),
                input_topic=texts.get(INPUT_HEADER),
            )
        except KeyError as error:
            raise DecodeError("undecodable", f"not a dead letter: {error} is missing") from None
        except ValueError:
            raise DecodeError(
                "undecodable", "not a dead letter: a header is not a number"
            ) from None


def _generated_key(origin: Partition, offset: int, failed_at_ms: int) -> bytes:
    return f"{origin.topic}/{origin.number}/{offset}/{failed_at_ms}".encode()


def trace_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of W3C Trace Context, in their order; none if they are longer than
    ``TRACE_BYTES_MAX``.
    """
    trace = tuple(
        (name, value) for name, value in headers if name in TRACE_HEADERS and value is not None
    )
    return trace if sum(len(name) + len(value) for name, value in trace) <= TRACE_BYTES_MAX else ()


def noted(record: Record) -> str | None:
    """Return the partition-offset of the dead letter that a note is about; None if not a note."""
    for name, value in record.headers:
        if name == NOTE_HEADER and value is not None:
            return value.decode("utf-8", "replace")
    return None
