"""What of a person can be erased, how, and when the rest is gone. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.codec.decode import Decoder
from stream.codec.event import Event
from stream.errors import RecordError
from stream.operations.analysis.dead_letters import LetterStatus, RecordPosition
from stream.record import Record
from stream.state.ledger import UserEntry
from stream.transform.traits import find

NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionInfo:
    """How long a topic keeps records, in milliseconds; infinite where that is not bounded."""

    retention_ms: float
    segment_ms: float
    compacts: bool = False
    compaction_lag_ms: float = NEVER

    @classmethod
    def of(cls, config: Mapping[str, str]) -> "RetentionInfo":
        """Return what a topic's configuration says."""
        policy = config.get("cleanup.policy", "delete")
        kept = float(config.get("retention.ms", "-1")) if "delete" in policy else -1.0
        lag = float(config.get("max.compaction.lag.ms", str(2**63 - 1)))
        return cls(
            retention_ms=kept if kept >= 0 else NEVER,
            segment_ms=float(config.get("segment.ms", "0")),
            compacts="compact" in policy,
            compaction_lag_ms=NEVER if lag >= 2**63 - 1 else lag,
        )

    def gone_by(self, written_ms: float) -> float:
        """Return when a record is gone at the latest, as far as time decides.

        Its segment is closed ``segment_ms`` after its first record, and deleted once its
        newest record is older than the retention.
        """
        return written_ms + self.segment_ms + self.retention_ms

    def compacted_by(self, replaced_ms: float) -> float:
        """Return when a value that was replaced is gone at the latest."""
        lag = self.segment_ms + self.compaction_lag_ms if self.compacts else NEVER
        return min(replaced_ms + lag, self.gone_by(replaced_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPoint:
    """Deleting the records of a partition up to the last one about a person.

    ``blockers`` are letters of others among them that are not past use.
    """

    kind: LetterStatus
    partition: int
    before: int
    theirs: int
    others: int
    blockers: Sequence[RecordPosition]


def plan_deletions(
    kind: LetterStatus,
    theirs: Collection[RecordPosition],
    there: Collection[RecordPosition],
    used: Collection[RecordPosition],
) -> list[DeletionPoint]:
    """Return what deleting a person's letters of one topic would take along.

    ``there`` are all letters, ``used`` those about which something was done: they are past use.
    """
    ends: dict[int, int] = {}
    for number, offset in theirs:
        ends[number] = max(ends.get(number, 0), offset + 1)
    found = []
    for number, before in sorted(ends.items()):
        among = {place for place in there if place.partition == number and place.offset < before}
        others = among - set(theirs)
        found.append(
            DeletionPoint(
                kind=kind,
                partition=number,
                before=before,
                theirs=len(among) - len(others),
                others=len(others),
                blockers=sorted(others - set(used)),
            )
        )
    return found


# Whose an event is, and how little of a person is shown


RAW_NAME_LENGTH_MIN = 6
"""A shorter name would be found in any bytes by chance."""


def identifiers_of(user: str, entries: Collection[UserEntry]) -> frozenset[str]:
    """Return what a person is known by: the name that was given, and what their entries add."""
    found = {user}
    for entry in entries:
        found |= {name for name in (entry.external_id, entry.email, entry.phone_number) if name}
    return frozenset(found)


def matches_user(record: Record, names: Collection[str], decoder: Decoder) -> bool:
    """Whether a record is about somebody who goes by one of these names.

    Bytes that nobody can read are about them if a name that is long enough is among them.
    """
    if record.key is not None and record.key.decode("utf-8", "replace") in names:
        return True
    value = record.value or b""
    among = [name for name in names if name.encode() in value]
    if not among:
        return False
    try:
        event = decoder.decode(value)
    except RecordError:
        return any(len(name) >= RAW_NAME_LENGTH_MIN for name in among)
    return any(name in names for name in _named(event))


def _named(event: Event) -> Iterator[str]:
    for name in (event.user_id, event.anonymous_id):
        if name:
            yield name
    context = event.context if isinstance(event.context, dict) else {}
    for traits in (event.traits, context.get("traits")):
        if isinstance(traits, dict):
            found: tuple[Any, Any] = (find(traits, "email"), find(traits, "phone"))
            yield from (str(value) for value in found if value)


def mask(text: str | None) -> str | None:
    """Return an e-mail or a number that can be recognised by who knows it, and by nobody else."""
    if not text:
        return text
    name, at, host = text.partition("@")
    return f"{name[:1]}***{at}{host}" if at else f"***{text[-2:]}"
