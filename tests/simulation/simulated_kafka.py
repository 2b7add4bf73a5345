"""Kafka, as far as the guarantee rests on it: a group, logs, and transactions in two steps.

The group looks at a transaction when it is given the offsets; its end comes later, and the
markers that make it readable later still. A fold that does not wait for both misses some.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from event_queue import Agenda
from invariants import Witness

from stream.engine.checkpoint import Checkpoint, LedgerRecord
from stream.engine.prepare import PreparedRecord
from stream.record import Partition
from stream.state.ledger import INTENT, USER
from stream.state.store import InMemoryStateStore

TRANSACTION_TIMEOUT_S = 3.0


@dataclass(eq=False, slots=True)
class Transaction:
    """Offsets that the group has accepted, to be committed or aborted."""

    worker: str
    checkpoint: Checkpoint
    started_at: float
    committed: bool | None = None
    """None while it is open."""


@dataclass
class Log:
    """One partition of the ledger. What lies behind an unwritten marker is not readable yet."""

    records: list[LedgerRecord] = field(default_factory=list)
    hidden_from: int = 0
    hidden_until: float = 0.0

    def append(self, records: "tuple[LedgerRecord, ...]", *, hidden_until: float) -> None:
        """Add what a transaction committed."""
        if hidden_until > self.hidden_until:
            self.hidden_from = min(self.hidden_from, len(self.records))
            self.hidden_until = hidden_until
        self.records += records

    def readable(self, now: float) -> int:
        """Return up to where a reader of committed records gets."""
        if now >= self.hidden_until:
            self.hidden_from = len(self.records)
        return self.hidden_from


class Kafka:
    """The input, and what transactions have committed."""

    def __init__(
        self,
        inputs: Mapping[Partition, list[PreparedRecord]],
        *,
        agenda: Agenda,
        witness: Witness,
        dice: Random,
    ) -> None:
        self._inputs = inputs
        self._agenda = agenda
        self._witness = witness
        self._dice = dice
        self._logs = {partition: Log() for partition in inputs}
        self._open: set[Transaction] = set()
        self.owners: dict[Partition, object] = {}
        """Who owns a partition now; offsets from anybody else are refused."""
        self.offsets: Counter[Partition] = Counter()

    # Transactions

    def accept(
        self, worker: str, tokens: Mapping[Partition, object], checkpoint: Checkpoint, at: float
    ) -> Transaction | None:
        """Take the offsets of a transaction that began ``at``; None where the group refuses."""
        if self.fenced(tokens, checkpoint):
            return None
        transaction = Transaction(worker, checkpoint, at)
        self._open.add(transaction)
        overdue_s = at + TRANSACTION_TIMEOUT_S - self._agenda.now
        self._agenda.at(overdue_s, lambda: self.end(transaction, commit=False))
        return transaction

    def fenced(self, tokens: Mapping[Partition, object], checkpoint: Checkpoint) -> bool:
        """Whether a partition of the checkpoint belongs to somebody else by now."""
        return any(
            self.owners.get(partition) is not tokens.get(partition)
            for partition in checkpoint.partitions
        )

    def end(self, transaction: Transaction, *, commit: bool) -> bool:
        """End a transaction, unless it has ended; return whether it is committed."""
        if transaction.committed is None:
            transaction.committed = commit
            self._open.discard(transaction)
            if commit:
                self._apply(transaction)
        return transaction.committed

    def end_all(self, worker: str) -> None:
        """Abort what a worker has left open: another one takes over its transactional id."""
        for transaction in [one for one in self._open if one.worker == worker]:
            self.end(transaction, commit=False)

    def _apply(self, transaction: Transaction) -> None:
        lag_s = self._dice.choice((0.0, 0.0, 0.0, 1.0)) * self._dice.random()
        for partition, share in transaction.checkpoint.partitions.items():
            before = self.offsets[partition]
            self.offsets[partition] = share.offset
            records = tuple(share.ledger)
            self._logs[partition].append(records, hidden_until=self._agenda.now + lag_s)
            self._witness.committed(
                transaction.worker, partition, before, share, transaction.started_at
            )

    # Reading

    def stable(self, partition: Partition) -> bool:
        """Whether a fold made now is complete: nothing open, all markers written."""
        log = self._logs[partition]
        pending = any(partition in one.checkpoint.partitions for one in self._open)
        return not pending and log.readable(self._agenda.now) == len(log.records)

    def restored(self, partition: Partition) -> InMemoryStateStore:
        """Return a fold of the readable ledger; now and then retention has taken user entries."""
        log = self._logs[partition]
        if self._dice.random() < 0.2 and self.stable(partition):
            log.records = [record for record in log.records if not record.key.startswith(USER)]
            log.hidden_from = len(log.records)
        state = InMemoryStateStore()
        fold: dict[str, bytes | None] = {}
        for record in log.records[: log.readable(self._agenda.now)]:
            state.put(record.key, record.value, record.remote_id)
            fold[record.key] = record.value
        held = {key: value for key, value in fold.items() if value is not None}
        intents = {key.removeprefix(INTENT): held[key] for key in held if key.startswith(INTENT)}
        same = all(state.get(key) == value for key, value in fold.items())
        self._witness.require(
            same and state.intents() == intents, "not the ledger's fold [13]", partition
        )
        return state

    def after(self, partition: Partition, offset: int, at_most: int) -> list[PreparedRecord]:
        """Return what is there from an offset on; the record's time is when it arrives."""
        events = self._inputs[partition]
        if not events or events[-1].record.offset < offset:
            return []
        now_ms = self._agenda.now * 1000
        first = bisect_left(events, offset, key=_offset)
        found = events[first : first + at_most]
        return [event for event in found if event.record.timestamp_ms <= now_ms]


def _offset(event: PreparedRecord) -> int:
    return event.record.offset
