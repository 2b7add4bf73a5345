"""How many requests at once, on a clock of the test's own."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.concurrency import FIRST, AdaptiveConcurrency

ReplyTime = Callable[[int], float]


class Host:
    """A host that is asked with as many requests at once as the limit allows, for a while."""

    def __init__(self, most: int) -> None:
        self.one = AdaptiveConcurrency(limit_max=most)
        self.now = 0.0
        self.limits: list[int] = []

    def run(
        self,
        seconds: float,
        reply_s: ReplyTime | float,
        *,
        troubled: float = 0.0,
        used: int = 10_000,
        name: str = "update",
    ) -> int:
        """Ask for so long; a part of the answers is trouble. Return the limit at the end."""
        until = self.now + seconds
        count = 0
        while self.now < until:
            at_once = min(self.one.limit, used)
            took_s = reply_s if isinstance(reply_s, float) else reply_s(at_once)
            self.now += took_s
            for number in range(at_once):
                count += 1
                trouble = count * troubled % 1 + troubled >= 1 if troubled else False
                self.one.finished(
                    name, took_s, failed=trouble, in_flight=at_once - number, now=self.now
                )
            self.limits.append(self.one.limit)
        return self.one.limit


@pytest.mark.parametrize("most", [64, 256])
@pytest.mark.parametrize("reply_s", [0.01, 0.02, 1.0])
def test_a_steady_host_is_used_to_the_full_after_a_few_replies(most: int, reply_s: float) -> None:
    host = Host(most)
    assert host.one.limit == FIRST
    assert host.run(max(0.2, reply_s * 6), reply_s) == most
    host.limits.clear()
    host.run(3 * max(1.0, reply_s), reply_s)
    assert set(host.limits) == {most}


def test_what_queues_on_our_own_side_is_no_slowness() -> None:
    """On a busy machine the time grows with the requests under way, and means nothing."""
    host = Host(256)
    host.run(2.0, lambda at_once: 0.0002 * at_once)
    host.limits.clear()
    host.run(4.0, lambda at_once: 0.0002 * at_once)
    assert set(host.limits) == {256}


def test_a_limit_that_is_not_needed_does_not_grow() -> None:
    assert Host(64).run(10, 0.02, used=3) == FIRST


def test_a_small_pool_begins_with_all_of_it() -> None:
    assert AdaptiveConcurrency(limit_max=4).limit == 4


@pytest.mark.parametrize("troubled", [0.2, 1.0])
def test_failures_bring_it_down_to_one(troubled: float) -> None:
    host = Host(64)
    host.run(1, 0.02)
    assert host.run(5, 0.02, troubled=troubled) <= 2


def test_a_rare_failure_changes_nothing() -> None:
    host = Host(64)
    assert host.run(30, 0.02, troubled=0.02) == 64


@pytest.mark.parametrize("most", [64, 256])
@pytest.mark.parametrize("reply_s", [0.01, 0.02, 1.0])
def test_it_is_back_within_half_a_minute(most: int, reply_s: float) -> None:
    host = Host(most)
    host.run(6 * max(0.1, reply_s), reply_s)
    host.run(20 * max(0.1, reply_s), reply_s, troubled=1.0)
    assert host.one.limit == 1
    assert host.run(12 if reply_s < 1 else 30, reply_s) == most


def test_a_host_that_becomes_slow_is_asked_less_then_as_before() -> None:
    """It gets relief at once; a time that stays long is what is usual there."""
    host = Host(64)
    host.run(2, 0.02)
    assert host.run(2, 0.6) < 45
    assert min(host.limits) >= 8
    assert host.run(28, 0.6) == 64


def test_slowness_alone_leaves_an_eighth() -> None:
    host = Host(64)
    host.run(2, 0.02)
    worse = 0.05
    for _ in range(40):
        worse *= 1.5
        host.run(0.1, min(worse, 60.0))
    assert min(host.limits) >= 8


def test_each_kind_of_request_has_its_own_usual_time() -> None:
    """Creates that take longer than look-ups are no reason to slow down."""
    host = Host(64)
    host.run(2, 0.01, name="find")
    host.limits.clear()
    host.run(2, 0.2, name="create")
    host.run(2, 0.01, name="find")
    assert set(host.limits) == {64}


@given(
    st.integers(1, 300),
    st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(0, 30), st.booleans(), st.integers(1, 300)),
        max_size=200,
    ),
)
def test_the_limit_stays_within_its_bounds(
    most: int, answers: list[tuple[str, float, bool, int]]
) -> None:
    one = AdaptiveConcurrency(limit_max=most)
    now = 0.0
    for name, took_s, trouble, under_way in answers:
        now += took_s / 3
        before = one.limit
        changed = one.finished(name, took_s, failed=trouble, in_flight=under_way, now=now)
        assert changed == (one.limit != before)
        assert 1 <= one.limit <= most
