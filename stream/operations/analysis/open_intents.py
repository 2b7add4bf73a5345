"""Open requests, from the intents in the ledger. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from sink.delivery import EffectClass
from stream.record import Record
from stream.state.ledger import INTENT, IntentEntry, try_decode


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """The open intent of a lane; ``entry`` is None if a newer version wrote it."""

    partition: int
    lane: str
    entry: IntentEntry | None

    @property
    def operation(self) -> str:
        """Type of the operation; empty if the intent does not hold it."""
        if self.entry is None or self.entry.operation is None:
            return ""
        document = orjson.loads(self.entry.operation)
        return str(document.get("type", "")) if isinstance(document, dict) else ""


class OpenIntents:
    """Folds ledger records into the open intents."""

    def __init__(self) -> None:
        self._values: dict[tuple[int, str], bytes] = {}

    def take(self, record: Record) -> None:
        """Apply the next record of the ledger; records other than intents are ignored."""
        if record.key is None or not record.key.startswith(INTENT.encode()):
            return
        name = (record.partition.number, record.key.decode().removeprefix(INTENT))
        if record.value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = record.value

    def open(self) -> list[OpenIntent]:
        """Return the open intents, oldest first."""
        found = [
            OpenIntent(number, lane, _read(value)) for (number, lane), value in self._values.items()
        ]
        return sorted(found, key=lambda one: one.entry.first_attempt_at_ms if one.entry else 0)


def open_intents(records: Iterable[Record]) -> list[OpenIntent]:
    """Return the open intents of ledger records, oldest first."""
    intents = OpenIntents()
    for record in records:
        intents.take(record)
    return intents.open()


def _read(value: bytes) -> IntentEntry | None:
    """Return the intent of a value; None if a newer version wrote it."""
    entry = try_decode(value)
    return entry if isinstance(entry, IntentEntry) else None


def hashed(lane: str) -> str:
    """Return a hash to print instead of a lane, which is an external id or e-mail."""
    return "lane-" + hashlib.blake2b(lane.encode(), digest_size=6).hexdigest()


def next_action(effect: EffectClass) -> str:
    """Return what a worker does with a request of this class that got no reply."""
    match effect:
        case EffectClass.OBSERVABLE:
            return "a worker looks for its effect after the quiet period, and sends it if absent"
        case EffectClass.REPEATABLE:
            return "a worker looks after the quiet period, and sends what differs"
        case EffectClass.UNOBSERVABLE:
            return "a worker parks it, or sends it again with WOOTRIC__IN_DOUBT_PAGES=resend"
