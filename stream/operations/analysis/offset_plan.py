"""Plan of an offset reset: targets, and whether events could take effect twice. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


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
