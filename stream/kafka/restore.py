"""Restoring partitions: the ledger is folded before anything of the input is read.

The order matters. First the stable committed offset, then the ledger's end with open
transactions included, then the ledger up to that end with aborted records left out: so
every intent and receipt that was committed before the offset is in the fold, and so is
every intent that a predecessor may still send for.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
)

from stream.engine.task_manager import HaltReason
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import ASK_S, Group, committed
from stream.kafka.protocol import Failed, PartitionHalted, Restored, Restoring
from stream.kafka.reader import apply_changelog, read_chunks
from stream.kafka.transactions import CommitMetadata, LedgerEndOffsets, fence
from stream.record import Partition
from stream.state.store import (
    InMemoryStateStore,
    LedgerPartitionInfo,
    OpenedStore,
    StateStoreProvider,
)

log = structlog.get_logger()

GHOST_WAIT_S = 0.5
"""How long an open transaction may hold things up before its owner is looked for."""
LEDGER_LOOK_S = 5.0
LEDGER_MISSING = (
    "the ledger has fewer partitions than the input: give it as many; this one opens by itself then"
)
OUT_OF_RANGE = (
    "the committed offset is outside of the topic ({}): records were deleted before they were "
    "read; check the topic's retention, then run `wootric-stream replay --to-earliest` for this one"
)
LEDGER_BEHIND = (
    "the ledger ends at {} when the offset was committed: records of it are gone, and with them "
    "what is known of requests and duplicates; restore the topic, or go on without them by "
    "`wootric-stream replay --accept-ledger-loss`"
)
STABLE_S = 0.3
"""How long an offset may stay unstable before anything else is tried."""

PROGRESS_S = 1.0

Tell = Callable[[Restored | Restoring | PartitionHalted | Failed], None]


class ChangelogRestorer:
    """Restores assignments, each in a thread of its own; other partitions flow meanwhile."""

    def __init__(
        self,
        config: KafkaConfig,
        *,
        group: Group,
        ends: LedgerEndOffsets,
        tell: Tell,
        keeper: StateStoreProvider | None = None,
    ) -> None:
        self._keeper = keeper
        self._config = config
        self._group = group
        self._ends = ends
        self._tell = tell
        self._closed = threading.Event()
        self._wanted: dict[Partition, int] = {}

    def restore(self, partitions: Sequence[Partition], assignment: int) -> None:
        """Begin to restore; every partition is told of when it is ready, or halted."""
        self._wanted.update(dict.fromkeys(partitions, assignment))
        threading.Thread(
            target=self._run,
            args=(list(partitions), assignment),
            name=f"restore-{assignment}",
            daemon=True,
        ).start()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Give up partitions that are not ours any more."""
        for partition in partitions:
            self._wanted.pop(partition, None)

    def close(self) -> None:
        """Give up what is being restored."""
        self._closed.set()

    def _is_wanted(self, assignment: int, partition: Partition) -> bool:
        return self._wanted.get(partition) == assignment and not self._closed.is_set()

    def _run(self, left: list[Partition], assignment: int) -> None:
        attempt = 0
        halted: set[Partition] = set()
        while not self._closed.is_set():
            left = [partition for partition in left if self._wanted.get(partition) == assignment]
            if not left:
                return
            wait_s = LEDGER_LOOK_S
            try:
                restore = PartitionRestore(
                    self._config,
                    left,
                    assignment,
                    group=self._group,
                    ends=self._ends,
                    tell=self._tell,
                    wanted=partial(self._is_wanted, assignment),
                    keeper=self._keeper,
                )
            except Exception as error:  # noqa: BLE001  settings that the client refuses
                self._tell(Failed(error))
                return
            try:
                restore.run()
            except KafkaException as error:
                attempt += 1
                log.warning("restore_failed", error=error.args[0].str(), attempt=attempt)
                wait_s = min(5.0, 0.05 * 2**attempt)
            except Exception as error:  # noqa: BLE001  the thread's entry point
                self._tell(Failed(error))
                return
            finally:
                restore.close()
            for partition in set(restore.missing) - halted:
                halted.add(partition)
                self._tell(PartitionHalted(partition, HaltReason.LEDGER_MISSING, LEDGER_MISSING))
            left = restore.left
            self._closed.wait(wait_s if left else 0)


class PartitionRestore:
    """One restore of some partitions."""

    def __init__(
        self,
        config: KafkaConfig,
        partitions: Sequence[Partition],
        assignment: int,
        *,
        group: Group,
        ends: LedgerEndOffsets,
        tell: Tell,
        wanted: Callable[[Partition], bool],
        keeper: StateStoreProvider | None = None,
    ) -> None:
        self._config = config
        self._assignment = assignment
        self._tell = tell
        self._wanted = wanted
        self._keeper = keeper
        self._reader = Consumer(settings.restorer(config))
        self._group = group
        self._ends = ends
        self._began_at = time.monotonic()
        self._partitions = {partition.number: partition for partition in partitions}
        self._starts: dict[int, int] = {}
        self._barriers: dict[int, int] = {}
        self._opened: dict[int, OpenedStore] = {}
        self._entries: Counter[int] = Counter()
        self._told_at = self._began_at
        self._ghosts_fenced = False
        self.missing: list[Partition] = []
        """Partitions of the input that the ledger does not have."""

    @property
    def left(self) -> list[Partition]:
        """The partitions that are not restored yet."""
        return [*self._partitions.values(), *self.missing]

    def run(self) -> None:
        """Restore them all.

        Raises:
            KafkaException: Kafka could not be asked; those ``left`` have to be done again.
        """
        self._leave_out_missing()
        if not self._partitions:
            return
        offsets = self._committed()
        barriers = self._group.ends(self._config.ledger_topic, offsets)
        lows, highs = (
            self._group.ends(self._config.topic, offsets, earliest=earliest)
            for earliest in (True, False)
        )
        for number, (offset, stamp) in offsets.items():
            start = lows[number] if offset < 0 else offset
            barrier = barriers[number]
            if stamp is not None and barrier < stamp.ledger_end:
                where = f"{barrier}, but it reached {stamp.ledger_end}"
                self._halt(number, HaltReason.LEDGER_BEHIND, LEDGER_BEHIND.format(where))
            elif lows[number] <= start <= highs[number]:
                self._starts[number] = start
                self._barriers[number] = barrier
                self._ends.reached(number, barrier)
            else:
                where = f"{start}, not within {lows[number]} to {highs[number]}"
                self._halt(number, HaltReason.OFFSET_OUT_OF_RANGE, OUT_OF_RANGE.format(where))
        self._fold()

    def _leave_out_missing(self) -> None:
        """Keep partitions closed whose ledger does not exist, until it does."""
        there = set(self._group.partitions(self._config.ledger_topic))
        for number in self._partitions.keys() - there:
            self.missing.append(self._partitions.pop(number))

    def close(self) -> None:
        """Close the client, and what was not handed over."""
        self._reader.close()
        for number in list(self._opened):
            self._opened.pop(number).state.close()

    def _give_up_unwanted(self) -> None:
        """Let go of partitions that are not ours any more: somebody may wait for their stores."""
        for number, partition in list(self._partitions.items()):
            if not self._wanted(partition):
                del self._partitions[number]
                opened = self._opened.pop(number, None)
                if opened is not None:
                    opened.state.close()

    def _committed(self) -> dict[int, tuple[int, CommitMetadata | None]]:
        """Return the stable committed offsets with their stamps.

        A dead worker's transaction that holds them up is ended.
        """
        began_at = time.monotonic()
        self._reader.list_topics(self._config.topic, timeout=ASK_S)
        while True:
            try:
                found = committed(self._reader, self._partitions.values(), timeout_s=STABLE_S)
            except KafkaException as error:
                gone = not any(self._wanted(partition) for partition in self._partitions.values())
                if error.args[0].code() != KafkaError._TIMED_OUT or gone:
                    raise
                if time.monotonic() - began_at > GHOST_WAIT_S:
                    self._fence_ghosts()
            else:
                return {
                    one.partition: (one.offset, CommitMetadata.read(one.metadata)) for one in found
                }

    def _halt(self, number: int, reason: HaltReason, detail: str) -> None:
        """Say that a partition cannot start: to go on would be to lose or to repeat something."""
        self._tell(PartitionHalted(self._partitions.pop(number), reason, detail))

    def _fold(self) -> None:
        topic = self._config.ledger_topic
        begins = self._group.ends(topic, self._barriers, earliest=True)
        self._open(begins)
        places = {number: opened.covered for number, opened in self._opened.items()}
        barriers = {number: self._barriers[number] for number in places}
        last_progress_at = time.monotonic()
        for chunk in read_chunks(self._reader, topic, places, barriers):
            self._give_up_unwanted()
            if not self._partitions:
                return
            states = {number: opened.state for number, opened in self._opened.items()}
            places.update(apply_changelog(states, chunk.messages, self._entries))
            for number in chunk.reached:
                self._reached(number)
            self._tell_progress(places)
            if chunk.messages or chunk.reached:
                last_progress_at = time.monotonic()
            elif time.monotonic() - last_progress_at > GHOST_WAIT_S:
                self._fence_ghosts()
                last_progress_at = time.monotonic()

    def _open(self, begins: dict[int, int]) -> None:
        """Open what holds the partitions, each with the offset from which it lacks the ledger."""
        self._give_up_unwanted()
        begins = {number: begin for number, begin in begins.items() if number in self._partitions}
        if self._keeper is None:
            for number, begin in begins.items():
                self._opened[number] = OpenedStore(InMemoryStateStore(), begin, warm=False)
            return
        cluster_id = self._group.cluster_id()
        topic_id = self._group.topic_id(self._config.ledger_topic)
        settings_ = self._group.settings_of(self._config.ledger_topic)
        kept_ms = int(settings_["retention.ms"])
        for number, begin in begins.items():
            part = LedgerPartitionInfo(
                cluster_id=cluster_id,
                topic_id=topic_id,
                number=number,
                begin=begin,
                end=self._barriers[number],
                tombstones_kept_s=int(settings_["delete.retention.ms"]) / 1000,
                kept_s=math.inf if kept_ms < 0 else kept_ms / 1000,
            )
            self._opened[number] = self._keeper.open(part)

    def _reached(self, number: int) -> None:
        """Hand a partition over once its ledger was read up to the barrier."""
        partition = self._partitions.pop(number, None)
        if partition is None:
            return
        state, _, warm = self._opened[number]
        state.save(self._barriers[number])
        del self._opened[number]
        self._tell(
            Restored(
                partition=partition,
                assignment=self._assignment,
                state=state,
                next_offset=self._starts[number],
                entries=self._entries[number],
                warm=warm,
                took_s=time.monotonic() - self._began_at,
            )
        )

    def _tell_progress(self, places: Mapping[int, int]) -> None:
        now = time.monotonic()
        if now < self._told_at + PROGRESS_S:
            return
        self._told_at = now
        for number, partition in self._partitions.items():
            left = max(0, self._barriers[number] - places[number])
            self._tell(Restoring(partition, self._entries[number], left))

    def _fence_ghosts(self) -> None:
        """End the open transactions of instances that are not in the group any more.

        Without this a worker that died inside a transaction holds its successors up for the
        transaction's timeout and the coordinator's scan, 20 s together.
        """
        if self._ghosts_fenced:
            return
        latest = Consumer({**settings.reader(self._config), "isolation.level": "read_uncommitted"})
        try:
            found = committed(latest, self._partitions.values())
        finally:
            latest.close()
        stamps = [CommitMetadata.read(offset.metadata) for offset in found]
        names = {stamp.instance for stamp in stamps if stamp is not None}
        ghosts = names - self._group.living() - {self._config.instance_id}
        for ghost in ghosts:
            log.info("fencing_dead_instance", gone=ghost)
            fence(self._config, ghost)
        self._ghosts_fenced = bool(ghosts)
