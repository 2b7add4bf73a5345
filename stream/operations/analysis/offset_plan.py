"""Which offsets a group is set back to, and whether that repeats anything. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRange:
    """What is known of one partition: its bounds, and where the group is in it.

    ``safe_from`` is the first offset whose receipt the ledger must still have;
    ``ledger_gone`` is how many records the ledger has lost that it had before.
    """

    begin: int
    end: int
    committed: int | None
    safe_from: int
    ledger_gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetReset:
    """What becomes of a partition's offset: nothing where there is no ``target``."""

    partition: int
    committed: int | None
    target: int | None
    text: str
    unsafe: bool = False

    @property
    def records(self) -> int:
        """How many records are read again, or were deleted before they were read (negative)."""
        return 0 if self.target is None else (self.committed or 0) - self.target


def plan_reset(wanted: Mapping[int, int], known: Mapping[int, LedgerRange]) -> list[OffsetReset]:
    """Return the moves to the wanted offsets, partition by partition.

    An offset goes forward only where what lies before the target does not exist any more.
    """
    return [_move(number, at, known[number]) for number, at in sorted(wanted.items())]


def accept_loss(known: Mapping[int, LedgerRange]) -> list[OffsetReset]:
    """Return the moves that let workers go on with ledgers that have lost records: none goes
    anywhere, but the offset does not say any more how far its ledger reached.
    """
    return [_stay(number, one) for number, one in sorted(known.items())]


def _stay(number: int, known: LedgerRange) -> OffsetReset:
    if known.committed is None or not known.ledger_gone:
        text = "its ledger has lost nothing"
        return OffsetReset(partition=number, committed=known.committed, target=None, text=text)
    target = min(max(known.committed, known.begin), known.end)
    text = (
        f"it stays, and a worker goes on without the {known.ledger_gone} records that its ledger "
        "lost: what they stood for may have a second effect"
    )
    return OffsetReset(partition=number, committed=known.committed, target=target, text=text)


def _move(number: int, wanted: int, known: LedgerRange) -> OffsetReset:
    committed = known.committed
    target = min(max(wanted, known.begin), known.end)
    if committed is None:
        text = "nothing is committed: a worker begins at the earliest record anyway"
        return OffsetReset(partition=number, committed=None, target=None, text=text)
    if known.ledger_gone:
        text = (
            f"its ledger has lost {known.ledger_gone} records: restore it, or go on without them "
            "by --accept-ledger-loss"
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
        text = "the committed offset lies behind the end: the topic was made anew"
    elif target >= committed:
        text = f"it is at {committed} already; offsets are only set back"
        return OffsetReset(partition=number, committed=committed, target=None, text=text)
    elif target < known.safe_from:
        text = (
            "the receipts of what lies before "
            f"offset {known.safe_from} may be gone: it could have a second effect"
        )
        return OffsetReset(
            partition=number, committed=committed, target=target, text=text, unsafe=True
        )
    else:
        text = f"{committed - target} records are read again; what has a receipt has no effect"
    return OffsetReset(partition=number, committed=committed, target=target, text=text)
