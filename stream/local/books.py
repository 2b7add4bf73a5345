"""What the ledger says has become of each event."""

from stream.kafka.survey import Survey
from stream.ledger import EVENT
from stream.ledger_codec import EventEntry, EventOutcome, decode


class Books(Survey):
    """The survey of a group, and its receipts."""

    def receipts(self) -> dict[str, EventOutcome]:
        """Return how the events ended that have a receipt, by their id."""
        found: dict[str, EventOutcome] = {}
        for message in self._read(self._config.ledger_topic):
            key, value = message.key(), message.value()
            if isinstance(key, bytes) and key.startswith(EVENT.encode()) and value is not None:
                entry = decode(value)
                if isinstance(entry, EventEntry):
                    found[key.decode().removeprefix(EVENT)] = entry.outcome
        return found
