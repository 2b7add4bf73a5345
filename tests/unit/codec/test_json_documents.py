"""The values of a file: one per line, over several lines, in arrays, and what is none of them."""

import json
import re
from collections.abc import Iterable, Iterator

import pytest
from codec_strategies import values
from hypothesis import example, given
from hypothesis import strategies as st

from stream.codec import json_text
from stream.codec.json_text import BYTE_ORDER_MARK, Broken, canonical, read_documents

PRETTY = """{
  "type": "track",
  "traits": {
    "a": [
      1,
      {"}": "]"}
    ]
  }
}
"""
VALUE = json.loads(PRETTY)


def lines(text: str | bytes, size: int = 1 << 16) -> Iterator[bytes]:
    """The text in the parts in which a file is read."""
    data = text.encode() if isinstance(text, str) else text
    for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
        for begin in range(0, len(line), size):
            yield line[begin : begin + size]


def read(parts: Iterable[bytes]) -> list[object]:
    """The line and value of each value; the line alone of what is none."""
    return [
        found.line if isinstance(found, Broken) else (found.line, found.value)
        for found in read_documents(parts)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("\n \n", []),
        ('{"a":1}\n{"a":2}\n', [(1, {"a": 1}), (2, {"a": 2})]),
        ('{"a":1}\n\n{"a":2}', [(1, {"a": 1}), (3, {"a": 2})]),
        ('\ufeff{"a":1}\n\ufeff{"a":2}', [(1, {"a": 1}), (2, {"a": 2})]),
        (PRETTY, [(1, VALUE)]),
        ("\ufeff" + PRETTY, [(1, VALUE)]),
        (PRETTY + "\n" + PRETTY, [(1, VALUE), (11, VALUE)]),
        (PRETTY + '{"a":1}\n' + PRETTY, [(1, VALUE), (10, {"a": 1}), (11, VALUE)]),
        ('{"a":1}\n' + PRETTY, [(1, {"a": 1}), (2, VALUE)]),
        ("[]", []),
        ("[ ]\n[\n]\n", []),
        ('[{"a":1},{"a":2}]', [(1, {"a": 1}), (1, {"a": 2})]),
        ('[{"a":1}]\n[{"a":2},3]\n', [(1, {"a": 1}), (2, {"a": 2}), (2, 3)]),
        ('[\n{"a":1},\n{"a":2}\n]\n', [(2, {"a": 1}), (3, {"a": 2})]),
        ('[\n  {\n    "a": 1\n  },\n  {\n    "a": 2\n  }\n]\n', [(2, {"a": 1}), (5, {"a": 2})]),
        ('\ufeff[\n {"a":1}\n , 7, "x,]", null ]', [(2, {"a": 1}), (3, 7), (3, "x,]"), (3, None)]),
        ("[[1],\n[2]]", [(1, [1]), (2, [2])]),
        ('42\n"text"\nnull\n', [(1, 42), (2, "text"), (3, None)]),
        ('{"a":"\\\\"}\n', [(1, {"a": "\\"})]),
        ('{\n"a":"\\\\",\n"b":"\\"{"}\n', [(1, {"a": "\\", "b": '"{'})]),
    ],
)
def test_values_are_found_by_what_the_text_holds(text: str, found: list[object]) -> None:
    assert read(lines(text)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("not json", [1]),
        ('{"a":1}\n{"a":\n\n42\n{"a":2}\n', [(1, {"a": 1}), 2, (4, 42), (5, {"a": 2})]),
        ('{"a":\n{"a":2}\n{"a":3}\n', [1, (2, {"a": 2}), (3, {"a": 3})]),
        ('{"a":"x\n{"a":2}\n', [1, (2, {"a": 2})]),
        ('{"a" 1}\n{"a":2}\n', [1, (2, {"a": 2})]),
        ('{"a":1}}\n{"a":2}\n', [1, (2, {"a": 2})]),
        ('{"a":1]\n{"a":2}\n', [1, (2, {"a": 2})]),
        ('{"a":1},\n{"a":2},\n', [1, 2]),
        ('{"a":1}{"a":2}\n', [1]),
        ('{"a":1}\n{"a":2\n{"a":3\n{"a":4}\n', [(1, {"a": 1}), 2, 3, (4, {"a": 4})]),
        ("INFO a line of a log\n{\n", [1, 2]),
        ("{\n", [1]),
        ('{\n  "a": 1,\n', [1]),
        ('{\n  "a": 1,\n  "b" 2\n}\n{\n  "a": 3\n}\n', [3, (5, {"a": 3})]),
        ('{\n  "a": "x\n}\n{\n  "a": 3\n}\n', [2, (4, {"a": 3})]),
        ('{\n  "a": 1\n]\n{\n  "a": 3\n}\n', [3, (4, {"a": 3})]),
        ("[1,]\n", [(1, 1), 1]),
        ('[{"a":1}\n', [1]),
        ('[\n{"a":1},\n{"a" 2},\n{"a":3}\n]\n', [(2, {"a": 1}), 3, (4, {"a": 3})]),
        ('[\n{"a":1},\n{"a":2}\n', [(2, {"a": 1}), 3]),
        ('[\n{"a":1}\n{"a":2}\n]\n', [2, (3, {"a": 2}), 4]),
        ('[{"a":1}] x\n{"a":2}\n', [(1, {"a": 1}), 1, (2, {"a": 2})]),
        ("[2026-11-30] started\n", [1, 1]),
        ("NaN\n", [1]),
        ("[" * 102 + "]" * 102, [1]),
        (b'\xff\xfe{\x00"\x00', [1]),
    ],
)
def test_what_is_no_json_is_named_by_its_line(text: str | bytes, found: list[object]) -> None:
    """What stands beside it is read."""
    assert read(lines(text)) == found


STYLES = st.sampled_from(["lines", "pretty", "array", "pretty array", "arrays"])


def written(documents: list[object], style: str) -> str:
    match style:
        case "lines":
            return "\n".join(map(json.dumps, documents))
        case "pretty":
            return "\n".join(json.dumps(one, indent=2, ensure_ascii=False) for one in documents)
        case "array":
            return json.dumps(documents)
        case "pretty array":
            return json.dumps(documents, indent=1)
        case _:
            return "\n".join(json.dumps([one]) for one in documents)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4)), STYLES, st.integers(1, 40)
)
@example([{"{": '"\\'}], "pretty", 1)
@example([{"a": "\\\\\\"}], "array", 3)
def test_however_events_are_written_and_read_they_are_the_same(
    documents: list[object], style: str, size: int
) -> None:
    """Also in parts that end within a string, an escape or a character."""
    expected = canonical(documents)
    found = [value for _, value in read(lines(written(expected, style), size))]
    assert found == expected


@given(st.text() | st.text(alphabet='{}[]",:\\\n 1a') | st.binary(), st.integers(1, 9))
def test_any_text_is_values_and_lines(text: str | bytes, size: int) -> None:
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    count = data.count(b"\n") + 1
    for found in read_documents(lines(data, size)):
        assert 1 <= found.line <= count


@pytest.mark.parametrize(
    "form", ['{"a":"%s"}\n{"a":2}\n', '[{"a":"%s"}]\n{"a":2}\n', '{\n"a":"%s"}\n{"a":2}\n']
)
def test_a_value_without_measure_is_broken_and_not_in_memory(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "VALUE_BYTES_MAX", 1_000)
    found = read(lines(form % ("x" * 5_000), 100))
    assert found[-1] == (form.count("\n"), {"a": 2})
    assert len(found) == 2
    assert isinstance(found[0], int)


def test_a_mark_alone_is_nothing() -> None:
    assert read([BYTE_ORDER_MARK]) == []
