"""`wootric-stream run` that says when its member sleeps on records that it has handed over."""

import sys
from typing import Any

import confluent_kafka

from stream.cli.app import main
from stream.kafka import consumer_thread

SLEPT = "slept on what was handed over"
_members: list[consumer_thread.ConsumerThread] = []


class Consumer(confluent_kafka.Consumer):
    """The group member; a poll that may wait is watched."""

    def poll(self, timeout: float) -> Any:
        for one in _members:
            if (
                timeout > 0
                and one._handed_over > one.accepted
                and not one._fetch_control.all_paused
            ):
                print(SLEPT, file=sys.stderr, flush=True)
        return super().poll(timeout)


def watched(self: consumer_thread.ConsumerThread, *arguments: Any, **options: Any) -> None:
    _init(self, *arguments, **options)
    _members.append(self)


_init = consumer_thread.ConsumerThread.__init__

if __name__ == "__main__":
    consumer_thread.Consumer = Consumer
    consumer_thread.ConsumerThread.__init__ = watched
    sys.argv = ["wootric-stream", "run"]
    main()
