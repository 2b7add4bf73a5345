"""JSON that its usual readers refuse, and bounds."""

import json
import unicodedata

import pytest
from codec_strategies import values
from hypothesis import given
from hypothesis import strategies as st

from stream.codec.json_text import canonical, dump, escaped, parse


@given(values)
def test_a_canonical_value_is_its_own_json(value):
    result = canonical(value)
    assert parse(dump(result)) == result
    assert canonical(result) == result


@given(values)
def test_a_text_means_the_same_whoever_wrote_it(value):
    """Python's json writes what orjson can not, with escapes; the value is the same."""
    finite = canonical(value)
    assert parse(json.dumps(finite)) == parse(json.dumps(finite, ensure_ascii=False)) == finite


@given(st.text() | st.binary())
def test_any_text_is_a_value_or_a_value_error(text):
    try:
        parse(text)
    except ValueError:
        return
    dump(parse(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"\\ud800"', "\ufffd"),
        ('"\\ud83d\\ude00\\ud83d"', "\U0001f600\ufffd"),
        ("1e400", None),
        ("-1e400", None),
        ("1" * 5_000, None),
        ("1" * 30, float("1" * 30)),
        ('["\\ud800", 18446744073709551615]', ["\ufffd", 2**64 - 1]),
        ('["\\ud800", 18446744073709551616]', ["\ufffd", 2.0**64]),
    ],
)
def test_valid_json_is_read_even_where_orjson_is_stricter(text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "", "{", "[1,]", b"\xff", b'"\xed\xa0\x80"', '["\\ud800", NaN]']
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [101, 900, 1_500, 100_000])
def test_depth_is_a_value_error(opening, depth):
    closing = "]" if opening == "[" else "}"
    with pytest.raises(ValueError):
        parse(opening * depth + "1" + closing * depth)


@pytest.mark.parametrize(
    "text", ['\ufeff{"a":1}', b'\xef\xbb\xbf{"a":1}', b'\xef\xbb\xbf {"a":1}\r\n']
)
def test_a_byte_order_mark_is_skipped(text):
    assert parse(text) == {"a": 1}


@pytest.mark.parametrize(
    "text", ['\ufeff\ufeff{"a":1}', '{"a":\ufeff1}', '{"a":1}\ufeff', "\ufeff"]
)
def test_a_mark_in_another_place_is_no_json(text):
    with pytest.raises(ValueError):
        parse(text)


@given(st.text(st.characters()))
def test_what_is_escaped_changes_nothing_on_a_terminal(text):
    shown = escaped(text)
    assert not [one for one in shown if unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not [one for one in shown if unicodedata.bidirectional(one) in DIRECTIONS]
    assert shown.encode().decode() == shown


DIRECTIONS = {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(values)
def test_escaped_json_is_the_same_value(value):
    text = dump(canonical(value))
    assert parse(escaped(text)) == parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünï, 平均, 👩\u200d👩, \\x1b", "plain, ünï, 平均, 👩\u200d👩, \\x1b"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("a\nb", "a\\u000ab"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x9b31m\x7f", "\\u009b31m\\u007f"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_could_change_a_terminal_is_escaped(text, shown):
    assert escaped(text) == shown


def test_line_feeds_of_messages_stay():
    assert escaped("a\nb\r", lines=True) == "a\nb\\u000d"
