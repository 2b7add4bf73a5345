"""The launcher's worker, where something rare happens, and perhaps without a safeguard against it.

The environment's ``RARE`` names what happens, ``UNGUARDED`` the safeguard that is taken away.
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import confluent_kafka
import launcher
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException

from sink import http_session, models
from stream.engine.checkpoint import Checkpoint
from stream.errors import CommitAbortedError
from stream.kafka import restore, transactions
from stream.kafka.consumer_thread import ConsumerThread
from stream.kafka.metadata import Group
from stream.kafka.protocol import Commit
from stream.kafka.transactions import Transactions
from stream.runtime.processor import Processor

STANDING = "standing still"
OVER = "the late commit is over"
GIVEN = "given a partition"
_once: set[str] = set()


def first(what: str) -> bool:
    """Whether this has not happened before."""
    new = what not in _once
    _once.add(what)
    return new


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def stand() -> None:
    """Hold this thread until the test lets it go on."""
    say(STANDING)
    while not Path(os.environ["GO_ON"]).exists():
        time.sleep(0.01)


def releases(checkpoint: Checkpoint) -> bool:
    return any(share.releases for share in checkpoint.partitions.values())


def say_what_is_given() -> None:
    """Tell the test of assignments while the loop cannot."""
    assign = ConsumerThread._on_assign

    def assigned(member: ConsumerThread, consumer: Any, partitions: list[Any]) -> None:
        assign(member, consumer, partitions)
        if partitions:
            say(GIVEN)

    ConsumerThread._on_assign = assigned


# What happens


def loop_stands_still() -> None:
    """The loop's thread is not scheduled between its decision to commit and its command.

    Meanwhile the partition is lost, and comes back.
    """
    command, commit = Processor._send, ConsumerThread._commit
    late: list[Checkpoint] = []

    def commanded(processor: Processor, order: Any) -> None:
        if isinstance(order, Commit) and releases(order.checkpoint) and first(STANDING):
            late.append(order.checkpoint)
            stand()
        command(processor, order)

    def committed(member: ConsumerThread, checkpoint: Checkpoint) -> None:
        commit(member, checkpoint)
        if checkpoint in late:
            say(OVER)

    Processor._send, ConsumerThread._commit = commanded, committed


def commit_comes_from_nobody() -> None:
    """The member's thread is not scheduled at the start of a transaction.

    Meanwhile the group forgets the worker.
    """
    commit = Transactions.commit

    def late(self: Transactions, checkpoint: Checkpoint, metadata: Any) -> None:
        if not releases(checkpoint) or not first(STANDING):
            commit(self, checkpoint, metadata)
            return
        stand()
        try:
            commit(self, checkpoint, metadata)
        finally:
            say(OVER)

    Transactions.commit = late


def commit_is_not_answered() -> None:
    """The first commit that holds a dead letter times out, and never reached Kafka."""
    transact = Transactions._transact

    def unanswered(self: Transactions, checkpoint: Checkpoint, metadata: Any) -> None:
        letters = any(share.dead_letters for share in checkpoint.partitions.values())
        if letters and first("unanswered"):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        transact(self, checkpoint, metadata)

    Transactions._transact = unanswered


def ledger_has_no_leader() -> None:
    """The first question for the ledger's end is answered by nobody."""
    ask = Group.offsets

    def unanswered(self: Group, topic: str, numbers: Any, **how: Any) -> dict[int, int]:
        answers = ask(self, topic, numbers, **how)
        return {} if topic.endswith("ledger") and first("ledger") else answers

    Group.offsets = unanswered


# The safeguards


def no_barrier() -> None:
    chunks = restore.read_chunks
    restore.read_chunks = lambda reader, topic, begins, until: chunks(
        reader, topic, begins, dict.fromkeys(until, 0)
    )


def no_check_of_the_end() -> None:
    """Nor of the stamp, which would notice it the second time."""
    offsets = restore.PartitionRestore._committed

    def ends(
        self: Group, topic: str, numbers: Any, *, earliest: bool = False, stable: bool = False
    ) -> dict[int, int]:
        found = self.offsets(topic, numbers, earliest=earliest, stable=stable)
        return {number: found.get(number, OFFSET_INVALID) for number in numbers}

    Group.ends = ends
    restore.PartitionRestore._committed = lambda self: {
        number: (offset, None) for number, (offset, _) in offsets(self).items()
    }


def no_check_of_the_assignment() -> None:
    commit = ConsumerThread._commit

    def unchecked(member: ConsumerThread, checkpoint: Checkpoint) -> None:
        owned = member._owned
        member._owned = {p: share.assignment_epoch for p, share in checkpoint.partitions.items()}
        try:
            commit(member, checkpoint)
        finally:
            member._owned = owned

    ConsumerThread._commit = unchecked


def metadata_of_no_member() -> None:
    commit = Transactions.commit

    def anonymous(self: Transactions, checkpoint: Checkpoint, _: Any) -> None:
        config = {
            "bootstrap.servers": self._config.bootstrap_servers,
            "group.id": self._config.group_id,
        }
        stranger = confluent_kafka.Consumer(config)
        commit(self, checkpoint, stranger.consumer_group_metadata())
        stranger.close()

    Transactions.commit = anonymous


def no_read_back() -> None:
    read_back = Transactions._read_back

    def believed(self: Transactions, error: KafkaError, checkpoint: Checkpoint) -> None:
        with suppress(CommitAbortedError):  # taken for committed
            read_back(self, error, checkpoint)

    Transactions._read_back = believed


def transparent_retry() -> None:
    send = http_session.HttpSession.send

    async def repeated(
        session: http_session.HttpSession, request: models.Request, *rest: Any, **more: Any
    ) -> models.SendResult:
        evidence = await send(session, request, *rest, **more)
        if isinstance(evidence, models.NoResponse) and request.method != "POST":
            return await send(session, request, *rest, **more)
        return evidence

    http_session.HttpSession.send = repeated


RARE: dict[str, Callable[[], None]] = {
    "loop stands still": loop_stands_still,
    "commit comes from nobody": commit_comes_from_nobody,
    "commit is not answered": commit_is_not_answered,
    "ledger has no leader": ledger_has_no_leader,
}
UNGUARDED: dict[str, Callable[[], None]] = {
    "barrier": no_barrier,
    "an unanswered end is no end": no_check_of_the_end,
    "commits of the current assignment only": no_check_of_the_assignment,
    "fence": metadata_of_no_member,
    "read back of an unknown commit": no_read_back,
    "no transparent retry": transparent_retry,
}


if __name__ == "__main__":
    launcher.name_all()
    assert transactions.Producer is launcher.Producer
    say_what_is_given()
    # A safeguard's absence is nearer to the code than what happens to it.
    if os.environ.get("UNGUARDED"):
        UNGUARDED[os.environ["UNGUARDED"]]()
    if os.environ.get("RARE"):
        RARE[os.environ["RARE"]]()
    from stream.cli.app import main

    sys.argv = ["wootric-stream", "run"]
    main()
