"""Letters: dead letters and parked records. Position, selection, resolution, replay. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, assert_never

from stream.bridge.payload import convert
from stream.codec.dead_letter import NOTE_HEADER, DeadLetter, noted
from stream.codec.event import SEGMENT_EVENT
from stream.engine.prepare import FORCE_HEADER, REPLAY_HEADER
from stream.errors import DecodeError
from stream.record import Partition, Record
from stream.state.ledger import EventEntry, EventOutcome

PARKED_PREFIX = "parked-"
BRIDGED = "bridge"
"""Value of ``x-replay`` of the bridge's letters: the messageId alone distinguishes their events,
since Segment may have sent one twice, and then there are two letters of it."""
ANY_PARTITION = -1
"""The key decides. Source: librdkafka's RD_KAFKA_PARTITION_UA."""
OPEN = "open"
"""State of a letter without a note."""


class RecordPosition(NamedTuple):
    """Partition and offset of a record."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """Return ``PARTITION-OFFSET``."""
        return f"{self.partition}-{self.offset}"

    @classmethod
    def of(cls, text: str) -> "RecordPosition":
        """Return the position of a text such as ``3-17``.

        Raises:
            ValueError: the text has another form.
        """
        partition, _, offset = text.partition("-")
        if not (text.isascii() and partition.isdigit() and offset.isdigit()):
            raise ValueError(f"{text!r} is not PARTITION-OFFSET, such as 3-17")
        return cls(int(partition), int(offset))


class LetterStatus(StrEnum):
    """Which of the two topics a letter is in."""

    DEAD = "dead letter"
    PARKED = "parked event"


class Resolution(StrEnum):
    """How an operator resolved a letter."""

    REPLAYED = "replayed"
    FORCED = "replayed with force"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class ResolutionRecord:
    """A note: record in a letter's own topic of how the letter was resolved.

    The ledger knows a replay for the dedupe window only; the note is kept as long as the letter.
    """

    place: RecordPosition
    done: Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDeadLetter:
    """A dead letter or a parked record with its position.

    ``written_ms`` is the timestamp of the letter's record, which retention uses. ``size`` is the
    length of its value in bytes; None if the record was gone from the input before it could be read
    again, or too large for a letter. ``names`` are the event ids of its replays, if requested.
    ``obstacle`` is why a letter of the bridge is no event, and therefore cannot be replayed.
    """

    kind: LetterStatus
    place: RecordPosition
    letter: DeadLetter
    written_ms: int
    size: int | None
    names: tuple[str, ...] = ()
    obstacle: str = ""

    def bare(self, names: tuple[str, ...] = ()) -> "ListedDeadLetter":
        """Return the letter without key and value, to save memory."""
        return replace(self, letter=replace(self.letter, key=None, value=None), names=names)

    def replay(self, *, force: bool = False, header: bytes = SEGMENT_EVENT.header) -> Record:
        """Return the record to produce to the input for a replay.

        Its partition is the event's original one, regardless of the key: only there does the ledger
        know an earlier replay. A parked record's place gets a prefix, since a dead letter may have
        the same place in its own topic. A letter of the bridge is converted as the bridge converts
        events, with the framing of ``header``; its key decides the partition.

        Raises:
            DecodeError: a letter of the bridge is no event: see ``obstacle``.
        """
        prefix = PARKED_PREFIX if self.kind is LetterStatus.PARKED else ""
        bridged = self.letter.input_topic is not None
        headers = [(REPLAY_HEADER, (BRIDGED if bridged else f"{prefix}{self.place}").encode())]
        if force:
            headers.append((FORCE_HEADER, b"true"))
        if bridged:
            event = convert(self.letter.value or b"", header)
            return Record(
                partition=Partition(self.letter.destination, ANY_PARTITION),
                offset=-1,
                timestamp_ms=0,
                key=event.key,
                value=event.value,
                headers=tuple(headers),
            )
        return Record(
            partition=self.letter.origin,
            offset=-1,
            timestamp_ms=0,
            key=self.letter.key,
            value=self.letter.value,
            headers=tuple(headers),
        )

    def note(self, done: Resolution, *, at_ms: int, text: str = "") -> Record:
        """Return the note to produce to the letter's topic and partition."""
        headers = {NOTE_HEADER: str(self.place), "x-note": done, "x-noted-at": str(at_ms)}
        if text:
            headers["x-note-text"] = text
        return Record(
            partition=Partition("", self.place.partition),
            offset=-1,
            timestamp_ms=at_ms,
            # Not the letter's key, which is personal data; a compacted topic refuses none at all.
            key=f"note/{self.place}/{at_ms}".encode(),
            value=None,
            headers=tuple((name, value.encode()) for name, value in headers.items()),
        )


def read_letter(record: Record, kind: LetterStatus) -> ListedDeadLetter | None:
    """Return a record as a letter; None for a note and for records of other programs."""
    try:
        letter = DeadLetter.from_headers(record.key, record.value, record.headers)
    except DecodeError:
        return None
    return ListedDeadLetter(
        obstacle=_obstacle(letter),
        kind=kind,
        place=RecordPosition(record.partition.number, record.offset),
        letter=letter,
        written_ms=record.timestamp_ms,
        size=None if record.value is None else len(record.value),
    )


def _obstacle(letter: DeadLetter) -> str:
    """Return why a letter of the bridge cannot be replayed; empty if it can be."""
    if letter.input_topic is None or letter.value is None:
        return ""
    try:
        convert(letter.value, SEGMENT_EVENT.header)
    except DecodeError as error:
        return error.detail
    return ""


def read_note(record: Record) -> ResolutionRecord | None:
    """Return a record as a note; None if it is none."""
    place = noted(record)
    done = dict(record.headers).get("x-note")
    try:
        return ResolutionRecord(RecordPosition.of(place or ""), Resolution((done or b"").decode()))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Selects letters; empty or None: no bound. Times in milliseconds since 1970."""

    reasons: Collection[str] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    places: Collection[RecordPosition] = ()

    def takes(self, letter: ListedDeadLetter) -> bool:
        """Whether a letter is selected."""
        at_ms = letter.letter.failed_at_ms
        return (
            (not self.reasons or letter.letter.reason in self.reasons)
            and (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
            and (not self.places or letter.place in self.places)
        )


def counted(letters: Iterable[ListedDeadLetter]) -> Mapping[str, tuple[int, int, int]]:
    """Return by reason the number of letters, and the times of the oldest and newest failure."""
    counts: dict[str, tuple[int, int, int]] = {}
    for one in letters:
        at_ms = one.letter.failed_at_ms
        count, oldest, newest = counts.get(one.letter.reason, (0, at_ms, at_ms))
        counts[one.letter.reason] = (count + 1, min(oldest, at_ms), max(newest, at_ms))
    return dict(sorted(counts.items(), key=lambda item: (-item[1][0], item[0])))


def outcome(receipts: Iterable[EventEntry]) -> str:
    """Return how the last replay of a letter ended, from its receipts; empty without one."""
    last = max(receipts, key=lambda receipt: receipt.at_ms, default=None)
    if last is None:
        return ""
    match last.outcome:
        case EventOutcome.DELIVERED:
            return "delivered"
        case EventOutcome.SKIPPED:
            return f"skipped: {last.reason}"
        case EventOutcome.REJECTED:
            return "rejected again, as a new dead letter"
        case EventOutcome.PARKED:
            return "parked"
        case _:
            assert_never(last.outcome)
