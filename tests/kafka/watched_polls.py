"""`wootric-stream run` that says when its member sleeps on records that it has handed over."""

import sys
from typing import Any

import confluent_kafka

from stream.cli import main
from stream.kafka import member

SLEPT = "slept on what was handed over"
_members: list[member.GroupMember] = []


class Consumer(confluent_kafka.Consumer):
    """The group member; a poll that may wait is watched."""

    def poll(self, timeout: float) -> Any:
        for one in _members:
            if timeout > 0 and one._handed > one.taken and not one._intake.held:
                print(SLEPT, file=sys.stderr, flush=True)
        return super().poll(timeout)


def watched(self: member.GroupMember, *arguments: Any, **options: Any) -> None:
    _init(self, *arguments, **options)
    _members.append(self)


_init = member.GroupMember.__init__

if __name__ == "__main__":
    member.Consumer = Consumer
    member.GroupMember.__init__ = watched
    sys.argv = ["wootric-stream", "run"]
    main()
