"""The safeguards that the simulation can take away, each by a patch of the code that has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from core_simulation import CoreWorker
from simulated_kafka import Kafka
from world import LATE_MAX_S, QUEUE_MAX_S

from sink.classify import NotExecuted
from sink.rate_limit import CircuitBreaker
from sink.wootric.operations import UpsertEndUser
from stream.engine.checkpoint import Checkpoint, UncommittedChanges
from stream.engine.lanes import Lane, PendingEvent, PendingRequest, RequestState
from stream.engine.partition_task import PartitionTask
from stream.engine.task_manager import TaskManager
from stream.kafka.protocol import Commit
from stream.runtime.dispatcher import Dispatcher
from stream.runtime.processor import Processor
from stream.state.ledger import EVENT

Remove = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """How a safeguard is taken away, and the schedules that show what comes of it."""

    remove: Remove
    kind: str = "core"
    quiet_s: float = LATE_MAX_S + QUEUE_MAX_S


def always(value: object) -> Callable[..., object]:
    """Return a function that does nothing but answer."""
    return lambda *_, **__: value


def no_intent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PartitionTask, "restore", always([]))


def no_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TaskManager, "may_send", always(True))


def no_re_emission(patch: pytest.MonkeyPatch) -> None:
    def aborted(worker: CoreWorker, checkpoint: Checkpoint) -> None:
        for partition, share in checkpoint.partitions.items():
            flow = worker.flow.partitions.get(partition)
            if flow is not None and flow.assignment_epoch == share.assignment_epoch:
                flow.uncommitted.on_committed(share)

    patch.setattr(CoreWorker, "aborted", aborted)


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    get = UncommittedChanges.get
    patch.setattr(
        UncommittedChanges,
        "get",
        lambda unsaved, key: None if key.startswith(EVENT) else get(unsaved, key),
    )


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kafka, "fenced", always(False))


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kafka, "stable", always(True))


def no_look(patch: pytest.MonkeyPatch) -> None:
    delivery = PartitionTask.delivery

    def blind(flow: PartitionTask, work: PendingRequest, may_send: Callable[[], bool]) -> Any:
        since, work.in_doubt_since = work.in_doubt_since, None
        try:
            return delivery(flow, work, may_send)
        finally:
            work.in_doubt_since = since

    patch.setattr(PartitionTask, "delivery", blind)


def no_claims(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UncommittedChanges, "claimed_ids", always(frozenset()))


def no_remembered_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("stream.engine.end_user_cache.EndUserCache.invalidate", always(None))


def no_ownership(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        PartitionTask,
        "has_in_flight",
        lambda flow, work: not flow.closed and work.lane.current is work,
    )


def no_opening(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "stream.engine.task_manager.PartitionTask.assignment_epoch",
        property(lambda _: 0, lambda *_: None),
        raising=False,
    )


def no_single_flight(patch: pytest.MonkeyPatch) -> None:
    send = PartitionTask._send

    def careless(flow: PartitionTask, work: PendingRequest) -> None:
        send(flow, work)
        work.state = RequestState.IN_DOUBT

    patch.setattr(PartitionTask, "_send", careless)


def no_frozen_request(patch: pytest.MonkeyPatch) -> None:
    add = Lane.add

    def joining(lane: Lane, event: PendingEvent) -> None:
        work, wanted = lane.current, event.operation
        late = work is not None and not lane.waiting and not event.replayed
        if not (late and isinstance(wanted, UpsertEndUser) and work and work.merge(event)):
            add(lane, event)

    patch.setattr(Lane, "add", joining)


def no_merge_barrier(patch: pytest.MonkeyPatch) -> None:
    add = Lane.add

    def passing(lane: Lane, event: PendingEvent) -> None:
        wanted = event.operation
        for work in lane.waiting:
            if isinstance(wanted, UpsertEndUser) and work.merge(event):
                return
        add(lane, event)

    patch.setattr(Lane, "add", passing)


def no_commit_before_sending(patch: pytest.MonkeyPatch) -> None:
    command, send = Processor._send, Dispatcher.send
    early: set[PendingRequest] = set()

    def hasty(processor: Processor, order: Any) -> None:
        command(processor, order)
        if isinstance(order, Commit):
            for share in order.checkpoint.partitions.values():
                for work in [work for work in share.releases if work not in early]:
                    early.add(work)
                    send(processor._dispatcher, work)

    def unless_sent(sending: Dispatcher, work: PendingRequest) -> None:
        if work in early:
            early.discard(work)
        else:
            send(sending, work)

    patch.setattr(Processor, "_send", hasty)
    patch.setattr(Dispatcher, "send", unless_sent)
    patch.setattr(
        TaskManager,
        "may_send",
        lambda flow, work, _: (
            work.lane.partition in flow.partitions
            and flow.partitions[work.lane.partition].has_in_flight(work)
        ),
    )


def no_circuit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CircuitBreaker, "open", always(False))


def no_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "sink.classify._doubt", lambda detail, *, status, **_: NotExecuted(detail, status)
    )


def no_quiet_period(patch: pytest.MonkeyPatch) -> None:
    """Nothing to patch: the schedule's settings say so."""


MUTANTS: Mapping[str, Mutant] = MappingProxyType(
    {
        "intent": Mutant(no_intent),
        "commit before sending": Mutant(no_commit_before_sending, kind="service"),
        "fence": Mutant(no_fence),
        "barrier": Mutant(no_barrier),
        "lease": Mutant(no_lease),
        "quiet period": Mutant(no_quiet_period, quiet_s=0),
        "re-emission after an abort": Mutant(no_re_emission),
        "frozen request": Mutant(no_frozen_request),
        "dedupe": Mutant(no_dedupe),
        "look-up before sending again": Mutant(no_look),
        "claimed ids": Mutant(no_claims),
        "remembered doubt": Mutant(no_remembered_doubt),
        "ownership of requests in flight": Mutant(no_ownership),
        "opening number": Mutant(no_opening),
        "one request in flight per lane": Mutant(no_single_flight),
        "merging up to a barrier only": Mutant(no_merge_barrier),
        "circuit": Mutant(no_circuit, kind="service"),
        "a lost reply is a doubt": Mutant(no_doubt, kind="service"),
    }
)
