"""A record that was refused or parked, as it lies in Kafka: itself, and headers that say why.

``schemas/avro/dead_letter.avsc`` describes the same; a header ``x-foo-bar`` is its field
``foo_bar``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from stream.errors import DecodeError
from stream.record import Partition, Record

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
TRACE_BYTES_MAX = 8 * 1024
DETAIL_LENGTH_MAX = 2_000
"""In characters; ``topics check`` reckons with 64 KiB for all headers. What is cut of a messageId
is in the value: whole, a record's largest field would be in the letter twice."""

NOTE_HEADER = "x-note-on"
"""A record with this header is no letter: it notes what a person has done about an earlier one
of the same topic, whose partition-offset it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that was given up, and why.

    ``reason`` is a word from a bounded set, ``detail`` a sentence for a person. ``replay``
    is the header ``x-replay`` of the record that was given up, if it was a replay itself, and
    ``trace`` are its headers ``traceparent`` and ``tracestate``, as they were.
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

    def fitting(self, bytes_max: int) -> Self:
        """Return the letter; without key and value, where these have more than so many bytes.

        A topic bounds what is compressed. What its producer compressed better than we do might
        not be taken here, ever, and nothing that comes after it would be committed.
        """
        size = len(self.key or b"") + len(self.value or b"")
        if size <= bytes_max:
            return self
        detail = f"its {size:,} bytes are too many for a letter; {self.detail}"
        return replace(self, key=None, value=None, detail=detail)

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the headers of the record; what is None has none."""
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
        """Return the dead letter that a record is; of a header given twice, the last counts.

        Raises:
            DecodeError: a header that every dead letter has is missing, or is no number.
        """
        headers = tuple(headers)
        texts = {
            name: text.decode("utf-8", "replace") for name, text in headers if text is not None
        }
        try:
            status = texts.get("x-http-status")
            return cls(
                key=key,
                value=value,
                reason=texts["x-reason"],
                detail=texts["x-detail"],
                origin=Partition(texts["x-origin-topic"], int(texts["x-origin-partition"])),
                offset=int(texts["x-origin-offset"]),
                message_id=texts.get("x-message-id"),
                http_status=None if status is None else int(status),
                attempts=int(texts["x-attempts"]),
                failed_at_ms=int(texts["x-failed-at"]),
                app_version=texts["x-app-version"],
                replay=texts.get("x-replay"),
                trace=trace_headers(headers),
            )
        except KeyError as error:
            raise DecodeError("undecodable", f"no dead letter: {error} is missing") from None
        except ValueError:
            raise DecodeError("undecodable", "no dead letter: a header is no number") from None


def trace_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that carry a trace (W3C Trace Context), in their order; none, if they
    are longer than a letter is sure to take.
    """
    trace = tuple(
        (name, value) for name, value in headers if name in TRACE_HEADERS and value is not None
    )
    return trace if sum(len(name) + len(value) for name, value in trace) <= TRACE_BYTES_MAX else ()


def noted(record: Record) -> str | None:
    """Return the place of the letter that this record is a note on; None if it is no note."""
    for name, value in record.headers:
        if name == NOTE_HEADER and value is not None:
            return value.decode("utf-8", "replace")
    return None
