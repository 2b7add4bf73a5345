"""`wootric-stream run`, with every call at its edges named, so that a test can break one.

The environment's ``FAULTS`` says at which points what happens: ``{"before commit": [2, "kill"]}``
is a kill -9 when the process is about to commit for the second time.

``LEDGER_SCHEMA`` is a file with the ledger's schema of another version, which this process can
read; with ``LEDGER_WRITES`` it is that version, and writes it.
"""

import contextvars
import ctypes
import functools
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clock
import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from sink import http_session, models
from stream.codec.avro import Schema
from stream.kafka import consumer_thread, metadata, restore, transactions
from stream.kafka.config import KafkaConfig
from stream.state import ledger
from stream.state import store as state_store
from stream.state.rocksdb import database, store

FAULTS: dict[str, tuple[int, str]] = {
    name: (hit, action)
    for name, (hit, action) in json.loads(os.environ.get("FAULTS", "{}")).items()
}
REQUESTS = (
    "token",
    "find_end_user",
    "create_end_user",
    "update_end_user",
    "create_response",
    "create_decline",
    "page_view",
)
BOTH_SIDES = (
    "init transactions",
    "begin transaction",
    "produce to ledger",
    "produce to dead letters",
    "produce to parked",
    "send offsets",
    "commit",
    "flush",
    "abort",
    "assign",
    "seek",
    "unassign",
    "leave",
    "read back",
    "committed offsets",
    "ends",
    "fold",
    "ledger reached",
    "state",
    *REQUESTS,
)

IN_STORE = ("open store", "scan store", "write store", "flush store", "close store")
"""Edges that only a worker with STATE__DIR has."""

STALL_S = int(os.environ.get("STALL_S", "1"))
"""How long a call blocks that stalls, or hogs the interpreter."""

_hits: Counter[str] = Counter()
_request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="")


def points() -> Iterator[str]:
    """All names, for the suite that must hit each of them."""
    for name in BOTH_SIDES:
        yield f"before {name}"
        if name in REQUESTS:
            yield f"bytes of {name}"
        yield f"after {name}"


def store_points() -> Iterator[str]:
    """The names of those that a store on disk adds."""
    for name in IN_STORE:
        yield from (f"before {name}", f"after {name}")


def reached(point: str) -> None:
    """Let happen what was ordered for this hit of a point."""
    _hits[point] += 1
    hit, action = FAULTS.get(point, (0, ""))
    if _hits[point] != hit:
        return
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stall":
            time.sleep(STALL_S)
        case "hang":
            time.sleep(3600)
        case "hog":
            ctypes.PyDLL(None).sleep(STALL_S)  # with the interpreter's lock in its hand
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.1)  # it takes a moment until all threads stand still
        case "time out":
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        case "fail":
            raise KafkaException(KafkaError(KafkaError._FAIL, txn_requires_abort=True))
        case "break":
            raise SystemError("a client in a bad state")
        case _:
            raise AssertionError(action)


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with a point on either side."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        reached(f"before {name}")
        result = function(*arguments, **options)
        reached(f"after {name}")
        return result

    return wrapped


class Producer(confluent_kafka.Producer):
    """The transactional producer; what it produces is named by the topic."""

    _has_entries = False
    """Whether the open transaction has records of the ledger."""

    send_offsets_to_transaction = named(
        "send offsets", confluent_kafka.Producer.send_offsets_to_transaction
    )
    flush = named("flush", confluent_kafka.Producer.flush)
    abort_transaction = named("abort", confluent_kafka.Producer.abort_transaction)

    def begin_transaction(self) -> None:
        self._has_entries = False
        named("begin transaction", super().begin_transaction)()

    def produce(self, *, topic: str, **record: Any) -> None:
        kinds = {"ledger": "ledger", "dlq": "dead letters", "parked": "parked"}
        kind = kinds[topic.rsplit(".", 1)[-1]]
        self._has_entries |= kind == "ledger"
        named(f"produce to {kind}", super().produce)(topic=topic, **record)

    def commit_transaction(self, wait_s: float) -> None:
        if self._has_entries:
            reached("before commit of entries")
        named("commit", super().commit_transaction)(wait_s)


class Consumer(confluent_kafka.Consumer):
    """The group member."""

    incremental_assign = named("assign", confluent_kafka.Consumer.incremental_assign)
    incremental_unassign = named("unassign", confluent_kafka.Consumer.incremental_unassign)
    seek = named("seek", confluent_kafka.Consumer.seek)
    close = named("leave", confluent_kafka.Consumer.close)


def name_requests() -> None:
    """Name the three moments of a request: before, bytes are out, after the answer."""
    send, depart = http_session.HttpSession.send, http_session._Exchange.depart

    async def sending(
        session: http_session.HttpSession,
        request: models.Request,
        headers: Any,
        *,
        may_send: Callable[[], bool] = models.always,
    ):
        def checked() -> bool:
            granted = may_send()
            if granted:
                reached("between check and write")
            return granted

        _request.set(request.name)
        reached(f"before {request.name}")
        evidence = await send(session, request, headers, may_send=checked)
        reached(f"after {request.name}")
        return evidence

    def departing(exchange: http_session._Exchange, *rest: Any) -> None:
        depart(exchange, *rest)
        reached(f"bytes of {_request.get()}")

    http_session.HttpSession.send = sending
    http_session._Exchange.depart = departing


def name_all() -> None:
    """Wrap every edge."""
    transactions.Producer = Producer
    consumer_thread.Consumer = Consumer
    transactions.Transactions._new_producer = named(
        "init transactions", transactions.Transactions._new_producer
    )
    transactions.Transactions._read_back = named("read back", transactions.Transactions._read_back)
    restore.committed = named("committed offsets", metadata.committed)
    metadata.Group.ends = named("ends", metadata.Group.ends)
    metadata.Group.instance_ids = named("members", metadata.Group.instance_ids)
    restore.apply_changelog = named("fold", restore.apply_changelog)
    restore.PartitionRestore._hand_over = named(
        "ledger reached", restore.PartitionRestore._hand_over
    )
    state_store.InMemoryStateStore.put = named("state", state_store.InMemoryStateStore.put)
    database.DatabaseFactory.open = named("open store", database.DatabaseFactory.open)
    database.Database.items = named("scan store", database.Database.items)
    database.Database.write = named("write store", database.Database.write)
    database.Database.flush = named("flush store", database.Database.flush)
    database.Database.close = named("close store", database.Database.close)
    store.RocksDbStateStore.put = named("state", store.RocksDbStateStore.put)
    name_requests()


def be_another_version(file: Path, *, writes: bool) -> None:
    """Know another version's ledger entries, or write them: each says which version it is of."""
    schema = Schema.of(json.loads(file.read_bytes()))
    ledger._WRITERS.add(schema)
    if not writes:
        return
    ledger._LEDGER_ENTRY = schema
    for name in ("_event_fields", "_intent_fields", "_user_fields"):
        fields = getattr(ledger, name)
        setattr(ledger, name, lambda entry, fields=fields: {**fields(entry), "by": "N+1"})


if __name__ == "__main__":
    if "LEDGER_SCHEMA" in os.environ:
        be_another_version(Path(os.environ["LEDGER_SCHEMA"]), writes="LEDGER_WRITES" in os.environ)
    assert KafkaConfig  # the edge is loaded: what is named here is what runs
    assert clock.CLOCK is not None  # set before anything took the time
    name_all()
    from stream.cli.app import main

    sys.argv = ["wootric-stream", "run"]
    main()
