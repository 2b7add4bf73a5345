"""The pace of requests, on a clock of the test's own."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.rate_limit import RateLimiter, RateLimitQuota, read_quota

NOW = 1_533_310_127
DATE = "Fri, 03 Aug 2018 15:28:47 GMT"


def startable(gate: RateLimiter, now: float, at_most: int = 64) -> int:
    """How many requests may start now, of so many that want to."""
    return int(max(0.0, min(at_most, gate.available_within(now, within_s=0.0))))


def test_without_a_pace_nobody_waits() -> None:
    gate = RateLimiter()
    assert [gate.reserve(0.0, max_wait_s=0) for _ in range(1000)] == [0.0] * 1000
    assert startable(gate, 0.0) == 64


def test_places_are_taken_in_advance_and_in_turn() -> None:
    gate = RateLimiter(requests_per_minute=60)
    assert [gate.reserve(0.0, max_wait_s=9) for _ in range(3)] == pytest.approx([0, 1, 2])


def test_who_is_not_patient_takes_no_place() -> None:
    gate = RateLimiter(requests_per_minute=60)
    gate.reserve(0.0, max_wait_s=0)
    assert gate.reserve(0.0, max_wait_s=0.5) == pytest.approx(1)
    assert gate.reserve(1.0, max_wait_s=0) == pytest.approx(0)


def test_places_shrink_with_use_and_come_back() -> None:
    gate = RateLimiter(requests_per_minute=120)
    assert startable(gate, 0.0) == 2
    gate.reserve(0.0, max_wait_s=0)
    assert startable(gate, 0.0) == 1
    assert startable(gate, 60.0) == 2
    assert startable(gate, 60.0, at_most=1) == 1


def test_a_shut_gate_has_no_places() -> None:
    gate = RateLimiter()
    gate.block_for(5, now=10.0)
    assert startable(gate, 14.9) == 0
    assert gate.reserve(12.0, max_wait_s=0) == pytest.approx(3)
    assert startable(gate, 15.0) == 64


def test_a_shorter_wait_does_not_open_the_gate_earlier() -> None:
    gate = RateLimiter()
    gate.block_for(5, now=0.0)
    gate.block_for(1, now=0.0)
    assert gate.blocked_s(0.0) == 5


def test_strikes_are_counted_in_a_row() -> None:
    """Refusals of what was under way together are one: else a burst would shut it for long."""
    gate = RateLimiter()
    assert gate.on_throttled(0.0) == 1
    gate.block_for(1, now=0.0)
    assert gate.on_throttled(0.5) == 1
    assert gate.on_throttled(2.0) == 2
    gate.on_success()
    assert gate.on_throttled(3.0) == 1


def sent(gate: RateLimiter, pauses: list[float], *, now: float = 0.0) -> list[float]:
    """When impatient requests got through."""
    times = []
    for pause in pauses:
        now += pause
        times += [now for _ in range(5) if gate.reserve(now, max_wait_s=0.0) <= 0]
    return times


@given(st.integers(1, 600), st.lists(st.floats(0, 5), min_size=1, max_size=300))
def test_no_minute_holds_more_than_the_pace(per_minute: int, pauses: list[float]) -> None:
    times = sent(RateLimiter(requests_per_minute=per_minute), pauses)
    for start in times:
        assert sum(start <= at < start + 60 for at in times) <= per_minute


@given(
    st.integers(12, 600),
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_workers_together_keep_the_pace(
    per_minute: int, partitions: list[int], pauses: list[float]
) -> None:
    """Each takes its part; only the first request of each may come on top."""
    times: list[float] = []
    for owned in partitions:
        gate = RateLimiter(requests_per_minute=per_minute)
        gate.share(owned / sum(partitions))
        times += sent(gate, pauses)
    for start in times:
        count = sum(start <= at < start + 60 for at in times)
        assert count <= per_minute + len(partitions)


def test_a_share_is_part_of_the_pace() -> None:
    gate = RateLimiter(requests_per_minute=90)
    gate.share(2 / 6)
    assert gate.per_minute == pytest.approx(30)
    assert [gate.reserve(0.0, max_wait_s=9) for _ in range(3)] == pytest.approx([0, 2, 4])


def test_who_owns_nothing_still_has_a_pace() -> None:
    gate = RateLimiter(requests_per_minute=90)
    gate.share(0.0)
    assert gate.reserve(0.0, max_wait_s=0) == 0
    assert gate.reserve(0.0, max_wait_s=0) > 60


# What replies say


def test_the_first_half_of_an_allowance_leaves_at_once_and_the_rest_is_spread() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(99, 60.0, limit=100), uncounted=0, now=0.0)
    waits = [gate.reserve(0.0, max_wait_s=9) for _ in range(53)]
    assert waits[:50] == [0.0] * 50
    assert 0 <= waits[50] < waits[51] < waits[52]
    assert waits[52] == pytest.approx(2 * 60 / 48, rel=0.1)


def test_what_is_under_way_counts_as_spent() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(60, 60.0, limit=100), uncounted=55, now=0.0)
    assert startable(gate, 0.0) <= 1
    assert [gate.reserve(0.0, max_wait_s=99) for _ in range(2)] == pytest.approx([0, 15])


def test_with_half_of_the_allowance_left_one_may_leave_and_not_all() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(50, 60.0, limit=100), uncounted=0, now=0.0)
    assert startable(gate, 0.0) == 1


def test_a_reply_alone_under_way_puts_right_what_was_reckoned_too_low() -> None:
    """Of many at once, which overtook each other, nobody knows what the server had counted."""
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(40, 60.0, limit=100), uncounted=39, now=0.0)
    gate.update_quota(
        RateLimitQuota(39, 59.0, limit=100), uncounted=0, now=1.0, only_in_flight=True
    )
    assert gate.reserve(1.0, max_wait_s=99) == 0
    assert gate.reserve(1.0, max_wait_s=99) == pytest.approx(59 / 38, rel=0.01)


def test_the_second_half_of_a_new_window_waits_for_a_reply() -> None:
    """Until one comes nobody knows how long the window is."""
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(100, 30.0, limit=100), uncounted=0, now=0.0)
    assert startable(gate, 31.0) == 50
    for _ in range(60):
        gate.reserve(31.0, max_wait_s=0)
    assert startable(gate, 31.0) == 1


def test_what_may_begin_soon_is_what_is_there_and_what_the_pace_brings() -> None:
    gate = RateLimiter(requests_per_minute=60)
    assert gate.available_within(0.0, within_s=0.0) == 1
    assert gate.available_within(0.0, within_s=0.5) == 1.5
    gate.reserve(0.0, max_wait_s=0)
    gate.reserve(0.0, max_wait_s=9)
    assert gate.available_within(0.0, within_s=0.5) == -0.5
    gate.block_for(4.0, now=0.0)
    assert gate.available_within(3.0, within_s=0.5) == 0
    assert gate.available_within(3.0, within_s=2.0) == 2


def test_an_older_reply_gives_nothing_back() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(10, 60.0, limit=100), uncounted=0, now=0.0)
    gate.update_quota(RateLimitQuota(90, 59.0, limit=100), uncounted=0, now=1.0)
    assert startable(gate, 1.0) <= 1


def test_nothing_left_shuts_the_gate_until_the_renewal() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(0, 30.0, limit=100), uncounted=0, now=0.0)
    assert gate.blocked_s(10.0) == 20
    assert startable(gate, 30.0) == 50


def test_what_is_spent_without_a_reply_shuts_it_too() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(2, 30.0, limit=2), uncounted=0, now=0.0)
    assert gate.reserve(0.0, max_wait_s=0) == 0
    assert gate.reserve(0.0, max_wait_s=99) >= 0
    assert gate.blocked_s(0.0) == 30


def test_a_new_window_counts_anew() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(3, 10.0, limit=100), uncounted=0, now=0.0)
    gate.update_quota(RateLimitQuota(97, 60.0, limit=100), uncounted=0, now=10.5)
    assert startable(gate, 10.5) == 47


def test_a_share_of_what_is_left_is_ours() -> None:
    gate = RateLimiter()
    gate.share(0.5)
    gate.update_quota(RateLimitQuota(100, 60.0, limit=100), uncounted=0, now=0.0)
    assert startable(gate, 0.0) == 25


def test_the_slower_of_both_paces_counts() -> None:
    gate = RateLimiter(requests_per_minute=60)
    gate.update_quota(RateLimitQuota(10, 60.0, limit=100), uncounted=0, now=0.0)
    gate.reserve(0.0, max_wait_s=0)
    assert gate.reserve(0.0, max_wait_s=99) == pytest.approx(60 / 9, rel=0.01)


def test_what_a_window_says_without_its_limit_is_its_limit() -> None:
    gate = RateLimiter()
    gate.update_quota(RateLimitQuota(40, 60.0), uncounted=0, now=0.0)
    assert startable(gate, 0.0) == 20


@pytest.mark.parametrize(
    ("headers", "allowance"),
    [
        ({}, None),
        (
            {
                "X-Rate-Limit-Remaining": "7",
                "X-Rate-Limit-Limit": "100",
                "X-Rate-Limit-Reset": str(NOW + 30),
            },
            RateLimitQuota(7, 30.0, limit=100),
        ),
        (
            {"X-Rate-Limit-Remaining": "7", "X-Rate-Limit-Reset": str(NOW + 30)},
            RateLimitQuota(7, 30.0),
        ),
        ({"X-Rate-Limit-Remaining": "7"}, None),
        ({"X-Rate-Limit-Remaining": "-1", "X-Rate-Limit-Reset": str(NOW + 30)}, None),
        ({"X-Rate-Limit-Remaining": "some", "X-Rate-Limit-Reset": str(NOW + 30)}, None),
        ({"X-Rate-Limit-Remaining": "7", "X-Rate-Limit-Reset": str(NOW - 30)}, None),
        ({"X-Rate-Limit-Remaining": "7", "X-Rate-Limit-Reset": "soon"}, None),
        (
            {
                "X-Rate-Limit-Remaining": "7",
                "X-Rate-Limit-Limit": "lots",
                "X-Rate-Limit-Reset": str(NOW + 30),
            },
            RateLimitQuota(7, 30.0),
        ),
    ],
)
def test_replies_are_read(headers: dict[str, str], allowance: RateLimitQuota | None) -> None:
    assert read_quota(headers, unix_now=NOW) == allowance


@pytest.mark.parametrize("skew_s", [-3600, 0, 3600])
def test_a_wrong_clock_here_does_not_matter(skew_s: int) -> None:
    headers = {
        "Date": DATE,
        "X-Rate-Limit-Remaining": "7",
        "X-Rate-Limit-Reset": str(NOW + 30),
    }
    assert read_quota(headers, unix_now=NOW + skew_s) == RateLimitQuota(7, 30.0)


@pytest.mark.parametrize("reset", [f"{NOW + 60}000", "1e308", str(NOW + 86_400)])
def test_an_allowance_in_a_strange_unit_shuts_the_gate_for_an_hour_at_most(reset: str) -> None:
    headers = {"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": reset, "Date": DATE}
    allowance = read_quota(headers, unix_now=NOW)
    assert allowance is not None
    gate = RateLimiter()
    gate.update_quota(allowance, uncounted=0, now=0.0)
    assert 0 < gate.blocked_s(0.0) <= 3600
    assert gate.reserve(3600.0, max_wait_s=0.0) == 0.0


@dataclass
class Account:
    """An account that allows so much a minute, and workers before it."""

    limit: int
    workers: list[RateLimiter]
    reply_s: float = 0.05
    now: float = 0.0
    used: int = 0
    refused: int = 0
    served: list[float] = field(default_factory=list)

    def run(self, seconds: float, *, in_flight: int) -> None:
        """Let all workers ask as fast as they may."""
        flights: list[tuple[float, RateLimiter, int, RateLimitQuota | None]] = []
        taken = dict.fromkeys(range(len(self.workers)), 0)
        window = 0
        until = self.now + seconds
        while self.now < until:
            for at, gate, number, allowance in [one for one in flights if one[0] <= self.now]:
                flights.remove((at, gate, number, allowance))
                index = self.workers.index(gate)
                under_way = sum(one[1] is gate for one in flights)
                if allowance is None:
                    gate.block_for(60 - self.now % 60, now=self.now)
                else:
                    uncounted = min(under_way, taken[index] - number)
                    gate.update_quota(allowance, uncounted=uncounted, now=self.now)
            if int(self.now // 60) != window:
                window, self.used = int(self.now // 60), 0
            for index, gate in enumerate(self.workers):
                free = in_flight - sum(one[1] is gate for one in flights)
                for _ in range(startable(gate, self.now, at_most=free)):
                    if gate.reserve(self.now, max_wait_s=0.0) > 0:
                        break
                    taken[index] += 1
                    answer = None
                    if self.used < self.limit:
                        self.used += 1
                        self.served.append(self.now)
                        reset_s = 60 - self.now % 60 - self.reply_s
                        answer = RateLimitQuota(self.limit - self.used, reset_s, limit=self.limit)
                    else:
                        self.refused += 1
                    flights.append((self.now + self.reply_s, gate, taken[index], answer))
            self.now = round(self.now + 0.01, 6)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("limit", [100, 1000])
def test_an_account_under_full_load_is_used_up_and_hardly_ever_refuses(
    limit: int, workers: int
) -> None:
    """More than nine tenths of what the account allows, spread, and no burst of 429.

    Only in the first minute nobody knows yet what the others send. Of the last request of a
    minute each worker but one learns by its refusal.
    """
    gates = [RateLimiter() for _ in range(workers)]
    for gate in gates:
        gate.share(1 / workers)
    account = Account(limit, gates)
    account.run(60, in_flight=16)
    assert account.refused <= 0.2 * limit
    account.refused = 0
    account.served.clear()
    account.run(300, in_flight=16)
    assert len(account.served) > 0.9 * 5 * limit
    assert account.refused <= 5 * (workers - 1)
    second_halves = sum(at % 60 > 30 for at in account.served)
    assert second_halves > (0.2 if workers == 1 else 0.08) * len(account.served), "it was spread"
