"""Packed bodies: what is in them, and never more than allowed."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bridge.payload import (
    BODY_BYTES_MAX,
    GZIP_MEMBERS_MAX,
    RequestRejectedError,
    check_length,
    inflate,
)
from stream.bridge.webhook import ByteBudget


@given(st.binary(max_size=2_000))
def test_what_was_packed_comes_out(data):
    assert inflate(gzip.compress(data)) == data


@given(st.lists(st.binary(max_size=9_000), min_size=1, max_size=9))
def test_what_was_packed_in_several_members_comes_out_whole(parts):
    """As fluentd and `cat a.gz b.gz` write it."""
    assert inflate(b"".join(map(gzip.compress, parts))) == b"".join(parts)


def test_members_are_limited_in_number_and_together():
    """Each costs time, and nobody has shown yet that they are Segment."""
    many = gzip.compress(b"x") * GZIP_MEMBERS_MAX
    assert inflate(many) == b"x" * GZIP_MEMBERS_MAX
    half = gzip.compress(bytes(BODY_BYTES_MAX // 2 + 1))
    for refused in (many + gzip.compress(b""), half + half):
        with pytest.raises(RequestRejectedError) as raised:
            inflate(refused)
        assert raised.value.status == 413


def test_a_bomb_is_refused_without_being_unpacked():
    """A hundred megabytes of nothing take a hundred kilobytes."""
    bomb = gzip.compress(bytes(100 * 1024 * 1024))
    with pytest.raises(RequestRejectedError) as raised:
        inflate(bomb)
    assert raised.value.status == 413


def test_the_limit_is_the_limit():
    check_length(BODY_BYTES_MAX)
    assert len(inflate(gzip.compress(bytes(BODY_BYTES_MAX)))) == BODY_BYTES_MAX
    for refused in (
        lambda: check_length(BODY_BYTES_MAX + 1),
        lambda: inflate(gzip.compress(bytes(BODY_BYTES_MAX + 1))),
    ):
        with pytest.raises(RequestRejectedError) as raised:
            refused()
        assert raised.value.status == 413


@given(st.binary(max_size=100))
def test_what_is_no_gzip_is_refused(data):
    with pytest.raises(RequestRejectedError):
        inflate(data)


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x", lambda d: d + d[:-1]])
def test_a_gzip_that_is_cut_off_or_followed_is_refused(change):
    with pytest.raises(RequestRejectedError) as raised:
        inflate(change(gzip.compress(b"{}")))
    assert raised.value.status == 400


def test_a_budget_gives_back_what_a_request_took():
    budget = ByteBudget(10)
    with budget.lease() as one:
        one.take(6)
        with budget.lease() as other, pytest.raises(RequestRejectedError) as raised:
            other.take(5)
        assert raised.value.status == 503
        one.take(4)
        assert budget.used == 10
    assert budget.used == 0
