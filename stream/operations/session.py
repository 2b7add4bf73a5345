"""Session of one operator command: topic reader, record preparation, progress, empty group."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from stream.codec.decode import Decoder
from stream.engine.prepare import PreparedRecord
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import group_not_empty, offsets_at
from stream.kafka.reader import TopicReader, open_reader
from stream.kafka.transactions import CommitMetadata
from stream.operations.output import print_message
from stream.record import Record
from stream.runtime.worker import decoder, kafka_config
from stream.schema_registry.setup import header_for, schema_fetcher
from stream.settings_loader import load_kafka, load_registry, load_transform
from stream.state.ledger import EVENT, EventEntry, try_decode
from stream.wootric import wootric_preparer

PROGRESS_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """Clients of one command. ``prepare`` decodes and transforms a record as a worker does."""

    reader: TopicReader
    decoder: Decoder
    prepare: Callable[[Record], PreparedRecord]

    @property
    def config(self) -> KafkaConfig:
        """Configuration of the clients, with the names of topics and group."""
        return self.reader.config

    def framing(self) -> bytes:
        """Return the framing of values that are written to the input: that of the bridge.

        Raises:
            StartupError: the schema registry does not respond, or refuses the schema.
        """
        return asyncio.run(header_for(load_registry(), self.config.topic))

    def ledger_gone(self, metadata: Mapping[int, str]) -> dict[int, int]:
        """Return the minimum number of records lost, for each partition that lost any.

        ``metadata`` is that of the committed offsets, read before: it holds the ledger's end then.
        """
        ends = self.reader.ends(self.config.ledger_topic)
        stamps = {number: CommitMetadata.parse(text) for number, text in metadata.items()}
        return {
            number: stamp.ledger_end - ends[number]
            for number, stamp in stamps.items()
            if stamp is not None and number in ends and ends[number] < stamp.ledger_end
        }

    def ledger(self) -> Iterator[Record]:
        """Yield all records of the ledger, and print progress."""
        return with_progress(self.reader.read(self.config.ledger_topic), "ledger records read")

    def receipts(self, wanted: Iterable[str]) -> dict[str, EventEntry]:
        """Read the whole ledger; return the receipts of these events by event id.

        Receipts written by a newer version are left out.
        """
        keys = {(EVENT + name).encode() for name in wanted}
        found: dict[str, EventEntry] = {}
        for record in self.ledger():
            if record.key in keys and record.value is not None:
                entry = try_decode(record.value)
                if isinstance(entry, EventEntry):
                    found[record.key.decode().removeprefix(EVENT)] = entry
        return found

    def since(
        self, time_ms: int, begins: Mapping[int, int], ends: Mapping[int, int]
    ) -> dict[int, int]:
        """Return by partition the first offset of the input published at ``time_ms`` or later."""
        found = offsets_at(self.config, dict.fromkeys(begins, time_ms))
        return {
            number: ends[number] if (at := found[number]) is None else max(begin, at)
            for number, begin in begins.items()
        }


@contextmanager
def open_session() -> Iterator[OperatorSession]:
    """Yield a session with the settings of this environment; print cluster, group and topic.

    Raises:
        StartupError: the settings are invalid, or Kafka does not answer.
    """
    config = kafka_config(load_kafka())
    by_id = schema_fetcher(load_registry())
    prepare = wootric_preparer(load_transform(), by_id)
    with open_reader(config) as reader:
        print_message(
            f"cluster {reader.group.cluster_id()}, group {config.group_id}, topic {config.topic}"
        )
        yield OperatorSession(reader, decoder(by_id), prepare)


def with_progress(
    records: Iterable[Record], what: str, total: int | None = None
) -> Iterator[Record]:
    """Yield records, and print their count every few seconds."""
    printed_at = time.monotonic()
    for count, record in enumerate(records, start=1):
        yield record
        if count % 1_000 == 0 and time.monotonic() - printed_at > PROGRESS_EVERY_S:
            printed_at = time.monotonic()
            print_message(
                f"{count:,} {what}" if total is None else f"{count:,} of {total:,} {what}"
            )


def now_ms() -> int:
    """Return the current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


# Waiting for an empty group, whose offsets and ledger no worker owns


POLL_EVERY_S = 0.5
GRACE_S = 1.0
"""Added to the session timeout, after which the group drops a static member that has stopped."""


def wait_until_group_empty(session: OperatorSession) -> None:
    """Return once the group has no members; wait for those that have just stopped.

    Raises:
        StartupError: members remain after the session timeout.
    """
    members = session.reader.group.members()
    if not members:
        return
    wait_s = session.config.session_timeout_s + GRACE_S
    print_message(f"waiting up to {wait_s:.0f} s for {', '.join(members)} to leave the group")
    deadline = time.monotonic() + wait_s
    while members:
        if time.monotonic() > deadline:
            raise group_not_empty(session.config, members)
        time.sleep(POLL_EVERY_S)
        members = session.reader.group.members()
