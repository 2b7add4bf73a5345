"""Packed bodies: what is in them, and never more than allowed."""

import gzip
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bridge.payload import (
    BODY_BYTES_MAX,
    EVENT_BYTES_MAX,
    GZIP_MEMBERS_MAX,
    GZIP_RATIO_MAX,
    RequestRejectedError,
    check_length,
    inflate,
)

HEX = random.Random(1).randbytes(BODY_BYTES_MAX // 2 + 1).hex().encode()
"""Text of which gzip takes half."""


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
    half = gzip.compress(HEX[: BODY_BYTES_MAX // 2 + 1])
    for refused in (many + gzip.compress(b""), half + half):
        with pytest.raises(RequestRejectedError) as raised:
            inflate(refused)
        assert raised.value.status == 413


class Counted:
    """Counts the bytes that come out of gzip."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inflated, self._begin = 0, zlib.decompressobj
        monkeypatch.setattr(zlib, "decompressobj", self._counting)

    def _counting(self, bits: int) -> Any:
        counted, stream = self, self._begin(bits)

        class Stream:
            eof = property(lambda _: stream.eof)
            unused_data = property(lambda _: stream.unused_data)

            def decompress(self, data: bytes, most: int) -> bytes:
                text = stream.decompress(data, most)
                counted.inflated += len(text)
                return text

        return Stream()


BOMB = gzip.compress(b"[[" + b"1," * 249_999 + b"1]]", 9)
"""526 bytes that ask for the parsing of 500,003."""


@pytest.mark.parametrize("bomb", [BOMB, gzip.compress(bytes(100 * 1024 * 1024)), BOMB * 9])
def test_a_bomb_is_refused_without_being_unpacked(monkeypatch, bomb):
    counted = Counted(monkeypatch)
    with pytest.raises(RequestRejectedError) as raised:
        inflate(bomb)
    assert raised.value.status == 413
    assert counted.inflated <= min(GZIP_RATIO_MAX * len(bomb), BODY_BYTES_MAX) + 1


def test_one_event_may_be_packed_as_tightly_as_it_can_be():
    text = b" " * EVENT_BYTES_MAX
    assert inflate(gzip.compress(text)) == text
    with pytest.raises(RequestRejectedError, match="100 times"):
        inflate(gzip.compress(text + b" "))


def test_the_limit_is_the_limit():
    check_length(BODY_BYTES_MAX)
    assert len(inflate(gzip.compress(HEX[:BODY_BYTES_MAX]))) == BODY_BYTES_MAX
    for refused in (
        lambda: check_length(BODY_BYTES_MAX + 1),
        lambda: inflate(gzip.compress(HEX[: BODY_BYTES_MAX + 1])),
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
