"""The flow: what is released, what is settled, what survives an abort and a takeover."""

from collections import Counter

import pytest

from sink.delivery import (
    Deferred,
    Delivered,
    EndUser,
    InDoubt,
    Operation,
    Parked,
    Rejected,
    Skipped,
)
from sink.wootric.operations import (
    CreateResponse,
    PageView,
    UpsertEndUser,
    read_operation,
    to_fields,
)
from stream.engine.checkpoint import Checkpoint
from stream.engine.lanes import PendingRequest
from stream.engine.limits import EngineConfig, ReleaseBudget
from stream.engine.prepare import Invalid, PreparedRecord
from stream.engine.task_manager import TaskManager
from stream.record import Partition, Record
from stream.state.ledger import EventEntry, EventOutcome, IntentEntry, decode
from stream.state.store import InMemoryStateStore
from stream.transform import Deliver, Skip

PARTITION = Partition("events", 0)
PLENTY = ReleaseBudget(100, 100)


def identify(user: str = "u1", **properties: str) -> UpsertEndUser:
    return UpsertEndUser(external_id=user, email=f"{user}@example.com", properties=properties)


def page(user: str = "u1") -> PageView:
    return PageView(url="https://example.com/", random="0.1", external_id=user)


def answer(user: str = "u1", score: int = 9) -> CreateResponse:
    return CreateResponse(external_id=user, score=score, created_at=1)


class World:
    """A flow with one partition, a clock, and the ledger that outlives it."""

    def __init__(self, state: InMemoryStateStore | None = None, **changes: object) -> None:
        limits = {
            "lease_s": 5.0,
            "takeover_wait_s": 70.0,
            "attempts_max": 8,
            "attempts_over_s": 600.0,
            "quiet_s": 60.0,
            "unchanged_resend_after_s": 86_400.0,
            "offset_gap_max": 1_000,
            "dead_letter_limit": 3,
            "letter_bytes_max": 1_000,
            "resend_unobservable": False,
            "app_version": "0",
            "instance": "w1",
        }
        self.state = state or InMemoryStateStore()
        self.flow = TaskManager(
            EngineConfig(**{**limits, **changes}), read_operation=read_operation
        )
        self.now = 100.0
        self.offset = 0
        self.totals: Counter[tuple[str, str]] = Counter()
        self.letters: list = []
        self.parked: list = []
        self.flow.open(PARTITION, self.state, 0, self.now, assignment_epoch=1)

    @property
    def part(self):
        return self.flow.partitions[PARTITION]

    def read(self, verdict: Operation | Skip | Invalid, name: str | None = None) -> str:
        """Let the next record be read; an operation's lane is its user."""
        if not isinstance(verdict, Skip | Invalid):
            verdict = Deliver(operation=verdict, lane=verdict.external_id or "nobody")
        name = name or f"m{self.offset}"
        record = Record(PARTITION, self.offset, 1, None, b"raw")
        self.offset += 1
        judged = PreparedRecord(
            record=record, event_id=name, result=verdict, message_id=name, time_ms=1
        )
        self.flow.admit([judged], 1_000)
        return name

    def checkpoint(self, capacity: ReleaseBudget = PLENTY) -> Checkpoint:
        self.flow.run_timers(self.now)
        return self.flow.checkpoint(1_000, capacity)

    def commit(self, capacity: ReleaseBudget = PLENTY) -> list[PendingRequest]:
        """Commit a checkpoint; return what may be sent."""
        checkpoint = self.checkpoint(capacity)
        share = checkpoint.partitions[PARTITION]
        self.totals.update(share.settled)
        self.letters += share.dead_letters
        self.parked += share.parked
        sendable = self.flow.on_committed(checkpoint, self.now)
        assert self.offset == sum(self.totals.values()) + self.flow.unsettled
        return sendable

    def settle(self, work: PendingRequest, outcome) -> None:
        self.flow.settle(work, outcome, self.now, 1_000)

    def receipt(self, name: str) -> EventEntry:
        value = self.state.get(f"event/{name}")
        assert value is not None
        entry = decode(value)
        assert isinstance(entry, EventEntry)
        return entry


def operations(works: list[PendingRequest]) -> list[dict]:
    return [to_fields(work.require_operation()) for work in works]


def test_nothing_may_be_sent_before_its_intent_is_committed() -> None:
    """The checkpoint names the release; only its commit gives it out."""
    world = World()
    world.read(answer())
    checkpoint = world.checkpoint()
    (record,) = checkpoint.partitions[PARTITION].ledger
    assert record.key == "intent/u1"
    assert isinstance(decode(record.value), IntentEntry)
    (work,) = checkpoint.partitions[PARTITION].releases
    assert not world.flow.may_send(work, world.now)
    assert world.flow.on_committed(checkpoint, world.now) == [work]
    assert world.flow.may_send(work, world.now)


def test_an_abort_is_no_rewind() -> None:
    """What an aborted checkpoint held is in the next one, and more."""
    world = World()
    world.read(answer())
    (work,) = world.commit()
    world.settle(work, Delivered(remote_id=7))
    aborted = world.checkpoint().partitions[PARTITION]
    world.read(Skip("disabled"))
    again = world.checkpoint().partitions[PARTITION]
    assert {r.key for r in aborted.ledger} == {"event/m0", "intent/u1", "user/u1"}
    assert list(again.ledger) == list(aborted.ledger)
    assert (aborted.offset, again.offset) == (1, 2)
    world.commit()
    assert world.receipt("m0").remote_id == 7
    assert world.totals == {("delivered", ""): 1, ("skipped", "disabled"): 1}


def test_one_operation_of_a_lane_is_under_way_at_a_time_and_order_is_kept() -> None:
    """The next response of a user waits for the outcome of the one before."""
    world = World()
    for score in (1, 2, 3):
        world.read(answer(score=score))
    world.read(answer("u2", score=4))
    scores = []
    while works := world.commit():
        assert len({work.lane.key for work in works}) == len(works)
        for work in works:
            scores.append((work.lane.key, work.require_operation().score))
            world.settle(work, Delivered())
    assert [score for lane, score in scores if lane == "u1"] == [1, 2, 3]
    assert world.totals["delivered", ""] == 4


def test_waiting_identifies_merge_past_page_views_and_not_past_responses() -> None:
    """The last value wins; each event has its own receipt."""
    world = World()
    world.read(answer("u1", score=0))
    (first,) = world.commit()
    for operation in (identify(a="1"), page(), identify(a="2", b="3"), answer(), identify(c="4")):
        world.read(operation)
    world.settle(first, Delivered())
    kinds = []
    while works := world.commit():
        kinds += operations(works)
        world.settle(works[0], Delivered())
    assert [fields["type"] for fields in kinds] == [
        "upsert_end_user",
        "page_view",
        "create_response",
        "upsert_end_user",
    ]
    assert kinds[0]["properties"] == {"a": "2", "b": "3"}
    assert world.receipt("m1").request_id == world.receipt("m3").request_id
    assert world.receipt("m5").request_id != world.receipt("m1").request_id


def test_a_frozen_request_takes_nothing_more() -> None:
    """An identify that comes after the intent waits for its own request."""
    world = World()
    world.read(identify(a="1"))
    (work,) = world.commit()
    world.read(identify(a="2"))
    assert len(work.events) == 1
    assert world.commit() == []


def test_an_unchanged_profile_is_settled_without_a_request() -> None:
    """Known and equal: skipped, with a receipt; different: sent with what is known."""
    world = World()
    world.read(identify(a="1"))
    (work,) = world.commit()
    user = EndUser(id=5, email="u1@example.com", external_id="u1", properties={"a": "1"})
    world.settle(work, Delivered(end_user=user))
    world.read(identify(a="1"))
    assert world.commit() == []
    assert world.totals["skipped", "unchanged"] == 1
    assert world.receipt("m1").outcome is EventOutcome.SKIPPED
    world.read(identify(a="2"))
    (again,) = world.commit()
    assert again.known == user


def test_a_message_id_is_settled_once() -> None:
    """A twin under way waits, a late one and a redelivery find the receipt."""
    world = World()
    world.read(answer(), "m")
    (work,) = world.commit()
    world.read(answer(), "m")
    world.settle(work, Delivered())
    world.commit()
    world.read(answer(), "m")
    assert world.commit() == []
    assert world.totals == {("delivered", ""): 1, ("duplicate", "message_id"): 2}
    after = World(world.state)
    after.read(answer(), "m")
    assert after.commit() == []
    assert after.totals == {("duplicate", "redelivered"): 1}


def test_a_refused_record_is_a_dead_letter_with_its_bytes() -> None:
    """It holds nobody up, and has a receipt."""
    world = World()
    world.read(Invalid("undecodable", "no Avro"))
    world.read(answer())
    assert len(world.commit()) == 1
    assert [(letter.value, letter.reason) for letter in world.letters] == [(b"raw", "undecodable")]
    assert world.receipt("m0").outcome is EventOutcome.REJECTED


def test_a_merged_request_that_is_refused_is_tried_event_by_event() -> None:
    """One bad identify does not take the others with it."""
    world = World()
    world.read(answer())
    (first,) = world.commit()
    for value in ("good", "bad", "fine"):
        world.read(identify(a=value))
    world.settle(first, Delivered())
    (merged,) = world.commit()
    world.settle(merged, Rejected(reason="validation", detail=""))
    seen = []
    while works := world.commit():
        (work,) = works
        value = work.require_operation().properties["a"]
        seen.append(value)
        refused = Rejected(reason="validation", detail="")
        world.settle(work, refused if value == "bad" else Delivered())
    assert seen == ["good", "bad", "fine"]
    assert world.totals["rejected", "validation"] == 1
    assert world.totals["delivered", ""] == 3


def test_doubt_closes_the_lane_until_a_late_effect_is_excluded() -> None:
    """Then the same request comes again, told to look first; other lanes go on."""
    world = World()
    world.read(answer())
    world.read(answer(score=1))
    world.read(answer("u2"))
    work, other = world.commit()
    world.settle(work, InDoubt(detail="timeout", sent_at=world.now))
    world.settle(other, Delivered())
    world.now += 59
    assert world.commit() == []
    world.now += 2
    (again,) = world.commit()
    delivery = world.part.delivery(again, lambda: True)
    assert delivery.in_doubt
    assert delivery.request_id == work.request_id
    world.settle(again, Delivered())
    (following,) = world.commit()
    assert following.require_operation().score == 1


@pytest.mark.parametrize("resend", [False, True])
def test_a_page_view_in_doubt_is_parked_or_sent_again_as_set(resend: bool) -> None:
    """At most once by default, at least once by choice, counted in either case."""
    world = World(resend_unobservable=resend)
    world.read(page())
    (work,) = world.commit()
    world.settle(work, InDoubt(detail="reset", sent_at=world.now))
    works = world.commit()
    assert len(works) == (1 if resend else 0)
    assert world.totals["parked", "ambiguous"] == (0 if resend else 1)
    assert len(world.parked) == (0 if resend else 1)


def test_what_was_not_executed_returns_to_its_lane_and_may_merge() -> None:
    """Its intent is withdrawn; it comes again when its time has come."""
    world = World()
    world.read(identify(a="1"))
    (work,) = world.commit()
    world.settle(work, Deferred(reason="throttled", retry_at=world.now + 30))
    world.read(identify(b="2"))
    assert world.commit() == []
    assert world.state.intents() == {}
    world.now += 31
    (again,) = world.commit()
    assert again.require_operation().properties == {"a": "1", "b": "2"}


def test_what_is_in_doubt_keeps_its_intent_when_looking_is_put_off() -> None:
    """A look-up that could not be made says nothing about the first attempt."""
    world = World()
    world.read(answer())
    (work,) = world.commit()
    world.settle(work, InDoubt(detail="timeout", sent_at=world.now - 60))
    (again,) = world.commit()
    world.settle(again, Deferred(reason="throttled", retry_at=world.now + 30))
    world.commit()
    assert set(world.state.intents()) == {"u1"}
    world.now += 31
    (once_more,) = world.commit()
    assert once_more.in_doubt


def test_the_lease_ends_unless_a_commit_renews_it() -> None:
    """No attempt starts later than the lease after the start of the last fence."""
    world = World()
    world.read(answer())
    (work,) = world.commit()
    world.now += 4.9
    assert world.flow.may_send(work, world.now)
    world.now += 0.2
    assert not world.flow.may_send(work, world.now)
    world.commit()
    assert world.flow.may_send(work, world.now)
    world.flow.close(PARTITION)
    assert not world.flow.may_send(work, world.now)


def test_the_next_owner_holds_what_was_in_doubt_and_looks_before_it_sends() -> None:
    """Members of the intent are held; the lane opens after lease, deadline and quiet period."""
    world = World()
    world.read(answer(), "m0")
    world.commit()
    heir = World(world.state)
    heir.now += 71
    assert heir.commit() == []
    heir.read(answer(), "m0")
    heir.read(answer(score=1), "m1")
    (work,) = heir.commit()
    assert work.in_doubt
    assert [member.event_id for member in work.events] == ["m0"]
    heir.settle(work, Delivered(remote_id=3))
    (following,) = heir.commit()
    assert not following.in_doubt
    assert heir.receipt("m0").remote_id == 3
    assert heir.state.claims(3)


def test_a_page_view_of_a_dead_worker_is_parked_at_once() -> None:
    """Nobody can find out about it, so nobody waits."""
    world = World()
    world.read(page(), "m0")
    world.commit()
    heir = World(world.state)
    heir.read(page(), "m0")
    assert heir.commit() == []
    assert [letter.value for letter in heir.parked] == [b"raw"]
    assert heir.state.intents() == {}


def test_a_member_that_is_gone_from_the_input_is_settled_all_the_same() -> None:
    """Its lane does not stay closed for ever."""
    world = World()
    world.read(answer(), "m0")
    world.commit()
    heir = World(world.state)
    heir.now += 71
    heir.flow.on_partition_end(PARTITION, 10)
    heir.offset = 0
    (work,) = heir.flow.on_committed(heir.checkpoint(), heir.now)
    heir.settle(work, Delivered())
    heir.flow.on_committed(heir.checkpoint(), heir.now)
    assert heir.receipt("m0").outcome is EventOutcome.DELIVERED


def test_an_operation_too_large_for_its_intent_is_made_anew() -> None:
    """The events are read again in any case."""
    world = World()
    world.read(identify(text="x" * 300_000), "m0")
    world.commit()
    heir = World(world.state)
    heir.now += 71
    heir.read(identify(text="x" * 300_000), "m0")
    (work,) = heir.commit()
    assert work.require_operation().properties == {"text": "x" * 300_000}


def test_the_offset_stays_at_the_lowest_unsettled_event() -> None:
    """What is settled above it is found in the ledger when it is read again."""
    world = World()
    world.read(answer("u1"))
    world.read(answer("u2"))
    slow, quick = world.commit()
    world.settle(quick, Delivered())
    assert world.checkpoint().partitions[PARTITION].offset == 0
    world.settle(slow, Delivered())
    assert world.checkpoint().partitions[PARTITION].offset == 2


def test_no_more_is_released_than_there_is_room_for() -> None:
    """Pages have their own room."""
    world = World()
    for number in range(5):
        world.read(answer(f"u{number}"))
        world.read(page(f"p{number}"))
    works = world.commit(ReleaseBudget(limited=2, unlimited=3))
    assert Counter(work.is_unlimited for work in works) == {False: 2, True: 3}


def test_a_skip_of_the_sink_is_on_record_and_one_of_the_transform_is_not() -> None:
    """Only what depends on Wootric's state has to be remembered."""
    world = World()
    world.read(page())
    world.read(Skip("disabled"))
    (work,) = world.commit()
    world.settle(work, Skipped(reason="no_email", end_user=EndUser(id=None)))
    world.commit()
    assert world.receipt("m0").reason == "no_email"
    assert world.state.get("event/m1") is None


def test_two_candidates_are_parked() -> None:
    """What the sink cannot tell apart is for a person to decide."""
    world = World()
    world.read(answer())
    (work,) = world.commit()
    world.settle(work, Parked(reason="two_candidates", detail=""))
    world.commit()
    assert world.totals["parked", "two_candidates"] == 1
    assert world.receipt("m0").outcome is EventOutcome.PARKED


def test_more_dead_letters_than_half_ask_for_the_brake() -> None:
    """Good events in between do not hide them; those of long ago do not count any more."""
    world = World()
    for _ in range(6):
        world.read(Invalid("undecodable", ""))
        world.read(Skip("disabled"))
        world.read(Skip("disabled"))
    assert not world.part.dead_letter_limit.exceeded
    world.read(Invalid("undecodable", ""))
    assert not world.part.dead_letter_limit.exceeded
    world.read(Invalid("undecodable", ""))
    assert world.part.dead_letter_limit.exceeded
    world.part.dead_letter_limit.reset()
    assert not world.part.dead_letter_limit.exceeded


def test_what_is_unsettled_at_the_end_is_relinquished() -> None:
    """Consumed is settled plus relinquished once a partition is given away."""
    world = World()
    world.read(answer())
    world.read(Skip("disabled"))
    world.commit()
    assert world.flow.close(PARTITION) == 1
