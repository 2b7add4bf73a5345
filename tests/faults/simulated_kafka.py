"""Kafka, as far as the guarantee rests on it: a group, a log, and atomic transactions."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream.checkpoint import Checkpoint
from stream.judge import Judged
from stream.ledger import EVENT, MemoryState
from stream.record import Partition


@dataclass
class Kafka:
    """The input, and what transactions have committed."""

    input: dict[Partition, list[Judged]]
    ends: dict[Partition, int]
    owners: dict[Partition, object] = field(default_factory=dict)
    """Who owns a partition now; a commit by somebody else is fenced."""
    offsets: Counter[Partition] = field(default_factory=Counter)
    states: dict[Partition, MemoryState] = field(default_factory=dict)
    letters: Counter[tuple[Partition, int]] = field(default_factory=Counter)
    parked: Counter[tuple[Partition, int]] = field(default_factory=Counter)
    terminal: Counter[tuple[Partition, str]] = field(default_factory=Counter)
    went_back: bool = False

    def commit(self, tokens: Mapping[Partition, object], checkpoint: Checkpoint) -> bool:
        """Commit all of it or nothing; return whether it was committed."""
        if self.fenced(tokens, checkpoint):
            return False
        for partition, share in checkpoint.shares.items():
            self.went_back |= share.offset < self.offsets[partition]
            self.offsets[partition] = share.offset
            state = self.states.setdefault(partition, MemoryState())
            for record in share.ledger:
                state.put(record.key, record.value, record.remote_id)
                if record.key.startswith(EVENT):
                    self.terminal[partition, record.key.removeprefix(EVENT)] += 1
            self.letters.update((partition, letter.offset) for letter in share.dead_letters)
            self.parked.update((partition, letter.offset) for letter in share.parked)
        return True

    def fenced(self, tokens: Mapping[Partition, object], checkpoint: Checkpoint) -> bool:
        """Whether a partition of the checkpoint belongs to somebody else by now."""
        return any(
            self.owners.get(partition) is not tokens.get(partition)
            for partition in checkpoint.shares
        )

    def restored(self, partition: Partition) -> MemoryState:
        """Return a fold of the committed ledger."""
        state = MemoryState()
        committed = self.states.get(partition)
        if committed is not None:
            state._values = dict(committed._values)
            state._claimed = set(committed._claimed)
        return state

    def after(self, partition: Partition, offset: int, now: float) -> list[Judged]:
        """Return what is there from an offset on; the record's time is when it arrives."""
        return [
            event
            for event in self.input[partition]
            if event.record.offset >= offset and event.record.timestamp_ms <= now * 1000
        ]
