"""`wootric-stream run` that dies or freezes inside a transaction, once a file is there."""

import os
import signal
from pathlib import Path
from typing import Any

import confluent_kafka

from stream.cli.app import main
from stream.kafka import transactions

ORDER = Path(os.environ["DIE_IN_TRANSACTION"])
"""The file; it has the name of the signal."""


class Producer(confluent_kafka.Producer):
    """The transactional producer; ledger and offsets are with the broker when it dies."""

    def commit_transaction(self, *arguments: Any) -> None:
        if ORDER.exists():
            self.flush()
            os.kill(os.getpid(), signal.Signals[ORDER.read_text()])
        super().commit_transaction(*arguments)


if __name__ == "__main__":
    assert hasattr(transactions, "Producer")  # this is where the service takes it from
    transactions.Producer = Producer
    main()
