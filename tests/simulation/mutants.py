"""The safeguards that the simulation can take away, each by a patch of the code that has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from core_simulation import CoreWorker
from simulated_kafka import Kafka
from world import LATE_MAX_S

from sink.circuit_breaker import Circuit
from sink.classify import NotExecuted
from sink.wootric.operations import UpsertEndUser
from stream.engine.checkpoint import Checkpoint, Unsaved
from stream.engine.lanes import Lane, Pending, Work, merged, merges
from stream.engine.partition_task import PartitionFlow
from stream.engine.task_manager import Flow
from stream.kafka.protocol import Commit
from stream.runtime.dispatcher import Sending
from stream.runtime.processor import Processor
from stream.state.ledger import EVENT

Remove = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """How a safeguard is taken away, and the schedules that show what comes of it."""

    remove: Remove
    kind: str = "core"
    quiet_s: float = LATE_MAX_S


def always(value: object) -> Callable[..., object]:
    """Return a function that does nothing but answer."""
    return lambda *_, **__: value


def no_intent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PartitionFlow, "restore", always([]))


def no_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flow, "may_send", always(True))


def no_re_emission(patch: pytest.MonkeyPatch) -> None:
    def aborted(worker: CoreWorker, checkpoint: Checkpoint) -> None:
        for partition, share in checkpoint.shares.items():
            flow = worker.flow.partitions.get(partition)
            if flow is not None and flow.opening == share.opening:
                flow.unsaved.committed(share)

    patch.setattr(CoreWorker, "aborted", aborted)


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    get = Unsaved.get
    patch.setattr(
        Unsaved, "get", lambda unsaved, key: None if key.startswith(EVENT) else get(unsaved, key)
    )


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kafka, "fenced", always(False))


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kafka, "stable", always(True))


def no_look(patch: pytest.MonkeyPatch) -> None:
    delivery = PartitionFlow.delivery

    def blind(flow: PartitionFlow, work: Work, may_send: Callable[[], bool]) -> Any:
        doubtful, work.in_doubt = work.in_doubt, False
        try:
            return delivery(flow, work, may_send)
        finally:
            work.in_doubt = doubtful

    patch.setattr(PartitionFlow, "delivery", blind)


def no_claims(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Unsaved, "claimed", always(frozenset()))


def no_remembered_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("stream.engine.end_user_cache.Users.forget", always(None))


def no_ownership(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        PartitionFlow, "holds", lambda flow, work: not flow.closed and work.lane.current is work
    )


def no_opening(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "stream.engine.task_manager.PartitionFlow.opening",
        property(lambda _: 0, lambda *_: None),
        raising=False,
    )


def no_single_flight(patch: pytest.MonkeyPatch) -> None:
    send = PartitionFlow._send

    def careless(flow: PartitionFlow, work: Work) -> None:
        send(flow, work)
        work.sending = False

    patch.setattr(PartitionFlow, "_send", careless)


def no_frozen_request(patch: pytest.MonkeyPatch) -> None:
    add = Lane.add

    def joining(lane: Lane, event: Pending) -> None:
        work, wanted = lane.current, event.operation
        late = work is not None and not lane.waiting and not event.replayed
        if late and isinstance(wanted, UpsertEndUser) and work and merges(work, wanted):
            join(work, event, wanted)
        else:
            add(lane, event)

    patch.setattr(Lane, "add", joining)


def join(work: Work, event: Pending, wanted: UpsertEndUser) -> None:
    """Let an event ride in a work."""
    work.operation = merged(work.operation, wanted)
    work.members.append(event)


def no_merge_barrier(patch: pytest.MonkeyPatch) -> None:
    add = Lane.add

    def passing(lane: Lane, event: Pending) -> None:
        wanted = event.operation
        for work in lane.waiting:
            if isinstance(wanted, UpsertEndUser) and merges(work, wanted):
                join(work, event, wanted)
                return
        add(lane, event)

    patch.setattr(Lane, "add", passing)


def no_commit_before_sending(patch: pytest.MonkeyPatch) -> None:
    command, send = Processor._command, Sending.send
    early: set[Work] = set()

    def hasty(processor: Processor, order: Any) -> None:
        command(processor, order)
        if isinstance(order, Commit):
            for share in order.checkpoint.shares.values():
                for work in [work for work in share.releases if work not in early]:
                    early.add(work)
                    send(processor._sending, work)

    def unless_sent(sending: Sending, work: Work) -> None:
        if work in early:
            early.discard(work)
        else:
            send(sending, work)

    patch.setattr(Processor, "_command", hasty)
    patch.setattr(Sending, "send", unless_sent)
    patch.setattr(
        Flow,
        "may_send",
        lambda flow, work, _: (
            work.lane.partition in flow.partitions
            and flow.partitions[work.lane.partition].holds(work)
        ),
    )


def no_circuit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Circuit, "forbid", always(False))


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
        "look before sending again": Mutant(no_look),
        "claimed ids": Mutant(no_claims),
        "remembered doubt": Mutant(no_remembered_doubt),
        "ownership of what is under way": Mutant(no_ownership),
        "opening number": Mutant(no_opening),
        "one under way a lane": Mutant(no_single_flight),
        "merging up to a barrier only": Mutant(no_merge_barrier),
        "circuit": Mutant(no_circuit, kind="service"),
        "a lost reply is a doubt": Mutant(no_doubt, kind="service"),
    }
)
