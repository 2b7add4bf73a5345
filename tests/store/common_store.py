"""What the tests of the store share: a ledger's partition, and stores in a folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.errors import StateStoreError
from stream.state.rocksdb.directory import StateDirectory
from stream.state.store import LedgerPartitionInfo, OpenedStore

PART = LedgerPartitionInfo(
    cluster_id="a-cluster",
    topic_id="a-topic",
    number=3,
    begin=0,
    end=1_000,
    tombstones_kept_s=86_400.0,
    kept_s=7 * 86_400.0,
)


@dataclass
class World:
    """A directory, and what was told about what lies in it."""

    directory: Path
    now: float = field(default_factory=time.time)
    failures: list[StateStoreError] = field(default_factory=list)

    def stores(self) -> StateDirectory:
        return StateDirectory(
            self.directory, on_failure=self.failures.append, clock=lambda: self.now
        )

    def open(self, part: LedgerPartitionInfo = PART) -> OpenedStore:
        return self.stores().open(part)

    def written(self, part: LedgerPartitionInfo = PART) -> OpenedStore:
        """A store that was filled up to offset 900, closed, and opened again."""
        state = self.open(part).state
        state.apply_changelog(
            [(b"event/a", b"A", 7), (b"intent/l", b"I", None), (b"user/u", b"U", None)], 900
        )
        state.save(900)
        state.close()
        return self.open(part)

    @property
    def folder(self) -> Path:
        return self.directory / PART.cluster_id / PART.topic_id / str(PART.number)


def events(capsys: Any) -> list[str]:
    """The names of what was logged."""
    return [line.split()[2] for line in capsys.readouterr().out.splitlines()]


Act = Callable[[World], None]
