"""Stream processor: from Kafka records to Wootric operations, with an exactly-once ledger."""

__version__ = "0.2.0"
