"""Plans of commands: which offsets are reset, what is erased. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stream.codec.decode import Decoder
from stream.codec.event import Event
from stream.errors import RecordError
from stream.operations.analysis.dead_letters import LetterStatus, RecordPosition
from stream.record import Record
from stream.state.ledger import UserEntry
from stream.transform.traits import BLANKS, find


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRange:
    """Bounds of one partition, and the group's position in it.

    ``safe_from`` is the first offset whose receipt the ledger must still have;
    ``ledger_gone`` is the number of records that the ledger has lost.
    """

    begin: int
    end: int
    committed: int | None
    safe_from: int
    ledger_gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetReset:
    """Planned change of a partition's offset; ``target`` None: no change."""

    partition: int
    committed: int | None
    target: int | None
    text: str
    unsafe: bool = False

    @property
    def records(self) -> int:
        """Number of records that are read again; negative: that were deleted unread."""
        return 0 if self.target is None else (self.committed or 0) - self.target


def plan_reset(wanted: Mapping[int, int], known: Mapping[int, LedgerRange]) -> list[OffsetReset]:
    """Return the reset of each partition to its wanted offset.

    An offset moves forward only if the records before the target no longer exist.
    """
    return [_move(number, at, known[number]) for number, at in sorted(wanted.items())]


def accept_loss(known: Mapping[int, LedgerRange]) -> list[OffsetReset]:
    """Return the resets that let workers continue with ledgers that have lost records.

    No offset moves, but its metadata no longer records how far the ledger reached.
    """
    return [_stay(number, one) for number, one in sorted(known.items())]


def _stay(number: int, known: LedgerRange) -> OffsetReset:
    if known.committed is None or not known.ledger_gone:
        text = "its ledger has lost nothing"
        return OffsetReset(partition=number, committed=known.committed, target=None, text=text)
    target = min(max(known.committed, known.begin), known.end)
    text = (
        f"the offset stays, and a worker continues without the {known.ledger_gone} records that "
        "its ledger lost: their events may take effect twice"
    )
    return OffsetReset(partition=number, committed=known.committed, target=target, text=text)


def _move(number: int, wanted: int, known: LedgerRange) -> OffsetReset:
    committed = known.committed
    target = min(max(wanted, known.begin), known.end)
    if committed is None:
        text = "nothing is committed: a worker starts at the earliest record anyway"
        return OffsetReset(partition=number, committed=None, target=None, text=text)
    if known.ledger_gone:
        text = (
            f"its ledger has lost {known.ledger_gone} records: restore it, or continue without "
            "them by --accept-ledger-loss"
        )
        return OffsetReset(
            partition=number, committed=committed, target=None, text=text, unsafe=True
        )
    if committed < known.begin:
        target = known.begin
        text = (
            f"{known.begin - committed} records were deleted before they were read: they are lost"
        )
    elif committed > known.end:
        text = "the committed offset is beyond the end: the topic was recreated"
    elif target >= committed:
        text = f"the offset is {committed} already; offsets only move back"
        return OffsetReset(partition=number, committed=committed, target=None, text=text)
    elif target < known.safe_from:
        text = (
            f"the receipts of events before offset {known.safe_from} may be gone: these events "
            "could take effect twice"
        )
        return OffsetReset(
            partition=number, committed=committed, target=target, text=text, unsafe=True
        )
    else:
        text = f"{committed - target} records are read again; those with a receipt have no effect"
    return OffsetReset(partition=number, committed=committed, target=target, text=text)


# What will be erased


NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionInfo:
    """How long a topic keeps records, in milliseconds; infinite if unbounded."""

    retention_ms: float
    segment_ms: float
    compacts: bool = False
    compaction_lag_ms: float = NEVER

    @classmethod
    def of(cls, config: Mapping[str, str]) -> "RetentionInfo":
        """Return the retention from a topic's configuration."""
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
        """Return the latest time at which time-based retention removes a record.

        Its segment is closed ``segment_ms`` after its first record, and deleted once its
        newest record is older than the retention.
        """
        return written_ms + self.segment_ms + self.retention_ms

    def compacted_by(self, replaced_ms: float) -> float:
        """Return the latest time at which a replaced value is removed."""
        lag = self.segment_ms + self.compaction_lag_ms if self.compacts else NEVER
        return min(replaced_ms + lag, self.gone_by(replaced_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionPoint:
    """Deletion of the records of a partition before ``before``, after a person's last letter.

    ``theirs`` and ``others`` count letters in that range; ``blockers`` are the open ones of others.
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
    existing: Collection[RecordPosition],
    resolved: Collection[RecordPosition],
) -> list[DeletionPoint]:
    """Return the deletions, one per partition, that remove a person's letters of one topic.

    ``existing`` are all letters of the topic, ``resolved`` those with a note, ``theirs`` the
    person's.
    """
    ends: dict[int, int] = {}
    for number, offset in theirs:
        ends[number] = max(ends.get(number, 0), offset + 1)
    found = []
    for number, before in sorted(ends.items()):
        among = {place for place in existing if place.partition == number and place.offset < before}
        others = among - set(theirs)
        found.append(
            DeletionPoint(
                kind=kind,
                partition=number,
                before=before,
                theirs=len(among) - len(others),
                others=len(others),
                blockers=sorted(others - set(resolved)),
            )
        )
    return found


# Identification and masking


RAW_NAME_LENGTH_MIN = 6
"""A shorter name would occur in arbitrary bytes by chance."""


def identifiers_of(entry: UserEntry) -> frozenset[str]:
    """Return a person's identifiers: external id, e-mail and phone number."""
    one = entry.end_user
    return frozenset(name for name in (one.external_id, one.email, one.phone_number) if name)


def names_in(record: Record, names: Collection[str], decoder: Decoder) -> frozenset[str]:
    """Return those of these identifiers that a record is about.

    Bytes that cannot be decoded are about an identifier that they contain, if it has at least
    ``RAW_NAME_LENGTH_MIN`` characters.
    """
    key = "" if record.key is None else record.key.decode("utf-8", "replace")
    found = {key} & set(names)
    value = record.value or b""
    among = [name for name in names if name.encode() in value]
    if among:
        try:
            found |= set(_named(decoder.decode(value))) & set(names)
        except RecordError:
            found |= {name for name in among if len(name) >= RAW_NAME_LENGTH_MIN}
    return frozenset(found)


def _named(event: Event) -> Iterator[str]:
    for name in (event.user_id, event.anonymous_id):
        if name:
            yield name
    context = event.context if isinstance(event.context, dict) else {}
    for part in (event.traits, context.get("traits"), event.properties, event.extra):
        if isinstance(part, Mapping):
            for value in (find(part, "email"), find(part, "phone")):
                if value:
                    yield str(value).strip(BLANKS)


def mask(text: str | None) -> str | None:
    """Return an e-mail or phone number masked: ``a***@example.com``, ``***56``."""
    if not text:
        return text
    name, at, host = text.partition("@")
    return f"{name[:1]}***{at}{host}" if at else f"***{text[-2:]}"
