"""What every command of an operator has: topics, decoder, progress, an empty group."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from stream.codec.decode import Decoder
from stream.engine.prepare import PreparedRecord
from stream.errors import DecodeError
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import group_not_empty, offsets_at
from stream.kafka.reader import TopicReader, open_reader
from stream.kafka.transactions import CommitMetadata
from stream.operations.output import print_message
from stream.record import Record
from stream.runtime.worker import decoder, judging, kafka_config
from stream.schema_registry.setup import schema_fetcher
from stream.settings_loader import load_kafka, load_registry, load_transform
from stream.state.ledger import EVENT, EventEntry, decode

SAY_EVERY_S = 2.0
"""Of Kafka's client, which else prints each broken connection; what matters we say ourselves."""


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """The operator's session: ``judge`` says what should become of a record."""

    reader: TopicReader
    decoder: Decoder
    prepare: Callable[[Record], PreparedRecord]

    @property
    def config(self) -> KafkaConfig:
        """The names of the topics and of the group."""
        return self.reader.config

    def ledger_gone(self, metadata: Mapping[int, str]) -> dict[int, int]:
        """Return how many records each partition of the ledger has lost, at the least.

        The committed offsets' metadata, which is read before, says how far it reached.
        """
        ends = self.reader.ends(self.config.ledger_topic)
        stamps = {number: CommitMetadata.read(text) for number, text in metadata.items()}
        return {
            number: stamp.ledger_end - ends[number]
            for number, stamp in stamps.items()
            if stamp is not None and number in ends and ends[number] < stamp.ledger_end
        }

    def ledger(self) -> Iterator[Record]:
        """Yield all records of the ledger, and say now and then how far that is."""
        return with_progress(self.reader.read(self.config.ledger_topic), "ledger records read")

    def receipts(self, wanted: Iterable[str]) -> dict[str, EventEntry]:
        """Return the receipts of these events, by event id, from the whole ledger.

        One that cannot be read, as a newer version wrote it, is left out.
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
        """Return where in the input to begin for what was published from a time on."""
        found = offsets_at(self.config, dict.fromkeys(begins, time_ms))
        return {
            number: ends[number] if (at := found[number]) is None else max(begin, at)
            for number, begin in begins.items()
        }


@contextmanager
def open_session() -> Iterator[OperatorSession]:
    """Yield a session for the settings of this environment; say which group it is about.

    Raises:
        StartupError: the settings are not right, or Kafka does not answer.
    """
    config = kafka_config(load_kafka())
    by_id = schema_fetcher(load_registry())
    prepare = judging(load_transform(), by_id)
    with open_reader(config) as reader:
        print_message(
            f"cluster {reader.group.cluster_id()}, group {config.group_id}, topic {config.topic}"
        )
        yield OperatorSession(reader, decoder(by_id), prepare)


def with_progress(
    records: Iterable[Record], what: str, total: int | None = None
) -> Iterator[Record]:
    """Yield records, and say now and then how many it were."""
    said_at = time.monotonic()
    for count, record in enumerate(records, start=1):
        yield record
        if count % 1_000 == 0 and time.monotonic() - said_at > SAY_EVERY_S:
            said_at = time.monotonic()
            print_message(
                f"{count:,} {what}" if total is None else f"{count:,} of {total:,} {what}"
            )


def try_decode(value: bytes) -> object | None:
    """Return the ledger entry that a value holds; None where a newer version wrote it."""
    try:
        return decode(value)
    except DecodeError:
        return None


def now_ms() -> int:
    """Return the time as records have it."""
    return time.time_ns() // 1_000_000


# Waiting until nobody is in the group: its offsets and its ledger are nobody's then


LOOK_EVERY_S = 0.5
PATIENCE_S = 1.0
"""Beyond the session of a worker that has just ended: a static member is missed that late."""


def wait_until_group_empty(session: OperatorSession) -> None:
    """Return once the group has no members; those that have just ended are waited for.

    Raises:
        StartupError: it still has some, for longer than a session lasts.
    """
    members = session.reader.group.members()
    if not members:
        return
    wait_s = session.config.session_timeout_s + PATIENCE_S
    print_message(f"in the group: {', '.join(members)}; waiting {wait_s:.0f} s for them to leave")
    deadline = time.monotonic() + wait_s
    while members:
        if time.monotonic() > deadline:
            raise group_not_empty(session.config, members)
        time.sleep(LOOK_EVERY_S)
        members = session.reader.group.members()
