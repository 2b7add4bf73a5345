"""The core under thousands of random schedules, and the proof that these would tell.

``SIMULATION_SCHEDULES`` sets how many are run (4,000), ``SIMULATION_SEED`` runs a single one
again: a failing seed prints itself.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from simulated_kafka import Kafka
from simulation import Settings, Worker, first_violation

from stream.checkpoint import Checkpoint
from stream.flow import Flow
from stream.ledger import EVENT
from stream.partition_flow import PartitionFlow
from stream.unsaved import Unsaved
from stream.work import Work

SCHEDULES = int(os.environ.get("SIMULATION_SCHEDULES", "4000"))
SEED = os.environ.get("SIMULATION_SEED")
PARTS = 8
MUTANT_SCHEDULES_MAX = 1_500


def seeds(part: int) -> Iterable[int]:
    """Return a part of the seeds; all of it is the one that was asked for."""
    if SEED is not None:
        return [int(SEED)] if int(SEED) % PARTS == part else []
    return range(part, SCHEDULES, PARTS)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_schedule_leaves_each_effect_exactly_once(part: int) -> None:
    """Crashes, zombies, rebalances, aborts, lost and late effects, then quiet: all agrees."""
    assert first_violation(seeds(part)) is None


def always(value: object) -> Callable[..., object]:
    """Return a function that does nothing but answer."""
    return lambda *_: value


def no_intents(patch: pytest.MonkeyPatch) -> None:
    """What a predecessor had under way is taken for never sent."""
    patch.setattr(PartitionFlow, "restore", always([]))


def no_lease(patch: pytest.MonkeyPatch) -> None:
    """A zombie goes on sending when it wakes up."""
    patch.setattr(Flow, "may_send", always(True))


def forgetful_abort(patch: pytest.MonkeyPatch) -> None:
    """What an aborted transaction held is not said again."""

    def aborted(worker: Worker, checkpoint: Checkpoint) -> None:
        for partition, share in checkpoint.shares.items():
            flow = worker.flow.partitions.get(partition)
            if flow is not None:
                flow.unsaved.committed(share)

    patch.setattr(Worker, "aborted", aborted)


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    """Receipts are written and never read."""
    get = Unsaved.get
    patch.setattr(
        Unsaved, "get", lambda unsaved, key: None if key.startswith(EVENT) else get(unsaved, key)
    )


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Anybody's transaction commits."""
    patch.setattr(Kafka, "fenced", always(False))


def no_look(patch: pytest.MonkeyPatch) -> None:
    """What is in doubt is simply sent again."""
    delivery = PartitionFlow.delivery

    def blind(flow: PartitionFlow, work: Work, may_send: Callable[[], bool]) -> Any:
        doubtful, work.in_doubt = work.in_doubt, False
        try:
            return delivery(flow, work, may_send)
        finally:
            work.in_doubt = doubtful

    patch.setattr(PartitionFlow, "delivery", blind)


def no_claims(patch: pytest.MonkeyPatch) -> None:
    """An effect that belongs to another event is taken for the one that is sought."""
    patch.setattr(Unsaved, "claimed", always(frozenset()))


def no_remembered_doubt(patch: pytest.MonkeyPatch) -> None:
    """A profile whose last write is in doubt is still taken for known."""
    patch.setattr("stream.users.Users.forget", always(None))


def no_ownership(patch: pytest.MonkeyPatch) -> None:
    """What was under way before a partition was lost goes on when it is back."""
    patch.setattr(
        PartitionFlow, "holds", lambda flow, work: not flow.closed and work.lane.current is work
    )


def no_opening(patch: pytest.MonkeyPatch) -> None:
    """A commit of an earlier ownership counts for the next one."""
    patch.setattr(
        "stream.flow.PartitionFlow.opening", property(lambda _: 0, lambda *_: None), raising=False
    )


def no_sending(patch: pytest.MonkeyPatch) -> None:
    """A lane that grows while its head is looked for releases that head again."""
    send = PartitionFlow._send

    def careless(flow: PartitionFlow, work: Work) -> None:
        send(flow, work)
        work.sending = False

    patch.setattr(PartitionFlow, "_send", careless)


SAFEGUARDS = [
    no_intents,
    no_lease,
    forgetful_abort,
    no_dedupe,
    no_fence,
    no_look,
    no_claims,
    no_remembered_doubt,
    no_ownership,
    no_opening,
    no_sending,
]


@pytest.mark.parametrize("remove", SAFEGUARDS)
def test_the_simulation_finds_what_a_missing_safeguard_does(
    remove: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation that stays green without a safeguard would prove nothing about it."""
    remove(monkeypatch)
    assert "ViolationError" in str(first_violation(range(MUTANT_SCHEDULES_MAX)))


def test_the_simulation_finds_what_a_missing_quiet_period_does() -> None:
    """A look-up that comes before a late effect finds nothing, and sends again."""
    impatient = Settings(quiet_s=0)
    assert "ViolationError" in str(first_violation(range(MUTANT_SCHEDULES_MAX), impatient))
