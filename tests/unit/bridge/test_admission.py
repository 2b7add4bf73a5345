"""What one address may hold, and when it is let in no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bridge import admission
from stream.bridge.admission import (
    REFUSALS_AT_ONCE,
    REFUSALS_PER_S,
    TRUSTED_S,
    Refusals,
    SharedCapacity,
    network,
)


def hold_all(capacity: SharedCapacity, addresses: int) -> list[int]:
    """Let each address take what it gets, one by one; return what each holds."""
    held = [0] * addresses
    for _ in range(2_000):
        for number in range(addresses):
            held[number] += capacity.take(f"a{number}", 1)
    return held


@pytest.mark.parametrize(("addresses", "each"), [(1, 500), (2, 333), (9, 100)])
def test_however_many_take_all_they_get_one_more_finds_as_much_free(addresses, each):
    capacity = SharedCapacity(1_000)
    assert hold_all(capacity, addresses) == [each] * addresses
    assert capacity.take("another", each // 2)


def test_without_a_bound_by_address_one_may_hold_all_and_no_more():
    capacity = SharedCapacity(1_000, by_address=False)
    assert hold_all(capacity, 1) == [1_000]
    assert not capacity.take("another", 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), max_size=60), st.booleans())
def test_what_is_given_back_is_free_again(steps, by_address):
    capacity, taken = SharedCapacity(100, by_address=by_address), []
    for address, count in steps:
        if capacity.take(address, count):
            taken.append((address, count))
        assert sum(count for _, count in taken) == capacity.used <= 100
    for address, count in taken:
        capacity.release(address, count)
    assert capacity.used == 0
    assert capacity.take("a", 50)


class Clock:
    now = 5.0

    def __call__(self) -> float:
        return self.now


def refuse(refusals: Refusals, address: str, count: int = REFUSALS_AT_ONCE) -> None:
    for _ in range(count):
        refusals.refused(address)


def test_an_address_that_has_only_refusals_is_excluded_for_a_moment():
    clock = Clock()
    refusals = Refusals(clock)
    refuse(refusals, "a", REFUSALS_AT_ONCE - 1)
    assert not refusals.is_excluded("a")
    refusals.refused("a")
    assert refusals.is_excluded("a")
    assert not refusals.is_excluded("b")
    clock.now += 1.5 / REFUSALS_PER_S
    assert not refusals.is_excluded("a")
    refusals.refused("a")
    assert refusals.is_excluded("a")


def test_after_a_refusal_an_address_opens_no_more_connections_than_it_has_refusals_left():
    """All that is admitted together is parsed before the first refusal counts."""
    clock = Clock()
    refusals = Refusals(clock)
    assert not refusals.is_excluded("a", connections=REFUSALS_AT_ONCE)
    refuse(refusals, "a", REFUSALS_AT_ONCE)
    clock.now += 2.5 / REFUSALS_PER_S
    assert [refusals.is_excluded("a", connections=held) for held in range(3)] == [
        False,
        False,
        True,
    ]
    refusals.signed("a")
    assert not refusals.is_excluded("a", connections=REFUSALS_AT_ONCE)


def test_who_regains_all_refusals_may_open_any_number_again():
    clock = Clock()
    refusals = Refusals(clock)
    refuse(refusals, "a", REFUSALS_AT_ONCE)
    clock.now += REFUSALS_AT_ONCE / REFUSALS_PER_S
    assert not refusals.is_excluded("a", connections=REFUSALS_AT_ONCE)


def test_a_signed_request_excuses_its_address_for_an_hour():
    """Of a proxy, whose senders are all at one address, what is signed goes on."""
    clock = Clock()
    refusals = Refusals(clock)
    refuse(refusals, "proxy")
    refusals.signed("proxy")
    assert not refusals.is_excluded("proxy")
    clock.now += TRUSTED_S + 1
    refuse(refusals, "proxy", 2 * REFUSALS_AT_ONCE)
    assert refusals.is_excluded("proxy")


def test_without_a_bound_by_address_none_is_excluded():
    refusals = Refusals(Clock(), by_address=False)
    refuse(refusals, "a")
    assert not refusals.is_excluded("a")


def test_so_many_addresses_are_remembered_and_no_more(monkeypatch):
    monkeypatch.setattr(admission, "ADDRESSES_MAX", 3)
    refusals = Refusals(Clock())
    for address in "abcd":
        refuse(refusals, address)
    assert [refusals.is_excluded(address) for address in "abcd"] == [False, True, True, True]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, ""),
    ],
)
def test_a_sender_of_ipv6_has_a_network_of_addresses(host, expected):
    assert network(host) == expected
