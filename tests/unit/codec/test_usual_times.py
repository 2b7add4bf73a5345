"""The short way of the usual times gives what the long way gives."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.codec import segment_time
from stream.codec.segment_time import read_iso_date_ms, read_time_ms

USUAL = "2018-08-03T15:28:46.493Z"
MS = 1_533_310_126_493

DIGITS = st.sampled_from("0123456789")
MARKS = st.sampled_from("-:.,TZWtz+ 09٣²\ud800é")
NEARLY = st.from_regex(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{3})?|[0-9]{6}[.,][0-9]{1,5})Z",
    fullmatch=True,
)
"""All that has the shape, valid or not."""


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return a text of the shape with up to three characters changed."""
    text = list(draw(NEARLY))
    for _ in range(draw(st.integers(0, 3))):
        text[draw(st.integers(0, len(text) - 1))] = draw(DIGITS | MARKS)
    return "".join(text)


@given(NEARLY | mutated() | st.datetimes().map(lambda moment: f"{moment.isoformat()[:23]}Z"))
@example("0099-12-31T23:59:59Z")
@example("0100-01-01T00:00:00Z")
@example("9999-12-31T23:59:59.999Z")
@example("1969-12-31T23:59:59.999Z")
@example("2018-02-30T00:00:00Z")
@example("2018-13-01T00:00:00Z")
@example("2018-08-03T24:00:00Z")
@example("2018-08-03T23:59:60Z")
@example("2018-W31-5T00:00:00Z")
@example("2018-08-03T152846.12345Z")
def test_the_short_way_agrees_with_the_long_one(text):
    short = segment_time._usual_ms(text)
    assert short in (None, segment_time._any_text_ms(text))


@given(mutated())
def test_a_date_is_one_on_either_way(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_time, "_usual_ms", lambda _: None)
        long_way = read_iso_date_ms(text), read_time_ms(text)
    assert long_way == (read_iso_date_ms(text), read_time_ms(text))


@pytest.mark.parametrize(
    ("text", "ms"), [(USUAL, MS), ("2018-08-03T15:28:46Z", MS - 493)], ids=["ms", "s"]
)
def test_the_usual_times_take_the_short_way(text, ms, monkeypatch):
    monkeypatch.setattr(segment_time, "_ISO", None)
    assert read_time_ms(text) == read_iso_date_ms(text) == ms
