"""JSON parsing with bounded depth; every parsed value can be written as UTF-8.

JSON's grammar allows more than common parsers accept. JavaScript may cut a string in the middle
of an emoji and send a lone surrogate; databases send numbers of thirty digits. Neither
is a reason to lose an event: a lone surrogate becomes U+FFFD, and a number beyond 64 bits is
parsed as in JavaScript, as a double, or as null beyond that. A byte order mark before the text is
skipped.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Programs on Windows write it before a text; JSON's grammar does not allow it."""
DEPTH_MAX = 100
"""Allows recursion over a value. Python allows about a thousand frames; events need ten."""


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested deeper than ``DEPTH_MAX``.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _parse_all(text.decode() if isinstance(text, bytes) else text)
    if _openings(text) > DEPTH_MAX and _deeper(value, DEPTH_MAX):
        raise ValueError(f"nested more than {DEPTH_MAX} deep")
    return value


def canonical(value: Any) -> Any:
    """Return the value after a round trip through its JSON text.

    NaN and the infinities become null, as with ``JSON.stringify``.

    Raises:
        ValueError: it cannot be written as JSON, or is nested deeper than ``DEPTH_MAX``.
    """
    try:
        text = orjson.dumps(value, default=_as_dict)
    except TypeError:
        return parse(_dump_all(value))
    return parse(text)


def dump(value: Any) -> str:
    """Return the JSON text of a value returned by ``parse`` or ``canonical``."""
    return orjson.dumps(value, default=_as_dict).decode()


def well_formed(text: str) -> str:
    """Return the text with U+FFFD for every lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)


def escaped(text: str, *, lines: bool = False) -> str:
    r"""Return the text with ``\uXXXX`` for what could change how a terminal shows the rest.

    These are control characters, line separators, lone surrogates, and the marks of direction,
    which can show a text in another order than it has. Of JSON the result is the same JSON value.
    ``lines`` keeps line feeds.
    """

    def escape(found: re.Match[str]) -> str:
        return found[0] if lines and found[0] == "\n" else f"\\u{ord(found[0]):04x}"

    return _UNSAFE.sub(escape, text)


def _parse_all(text: str) -> Any:
    text = text.removeprefix("\ufeff")
    try:
        value = json.loads(
            text, parse_int=_number, parse_float=_number, parse_constant=_refuse_constant
        )
        return orjson.loads(well_formed(json.dumps(value, ensure_ascii=False)))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _dump_all(value: Any) -> str:
    try:
        text = json.dumps(value, default=_as_dict)
        return json.dumps(json.loads(text, parse_int=_number, parse_constant=_null))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON: {type(error).__name__}") from None


def _number(digits: str) -> float | None:
    """Return a number as orjson parses it, or None if it is beyond a double."""
    try:
        return orjson.loads(digits)  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        return None


def _null(_: str) -> None:
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _openings(text: str | bytes) -> int:
    """Return a cheap upper bound of the depth."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return any(isinstance(node, dict | list) for node in level)


# The values of a text: one per line, over several lines, or in arrays


VALUE_BYTES_MAX = 64 * 1024 * 1024
"""Of one value. An event has at most some megabytes."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value, its text, and the line in which it begins."""

    line: int
    text: bytes
    value: Any


@dataclass(frozen=True, slots=True)
class Broken:
    """Text that is not JSON: ``line`` has the error, or the beginning of a value without end."""

    line: int


ReadResult: TypeAlias = Document | Broken


LINES_NAMED_MAX = 20


@dataclass(slots=True)
class BrokenValues:
    """Number of values that are not JSON, and the lines of the first ``LINES_NAMED_MAX``."""

    count: int = 0
    lines: list[int] = field(default_factory=list)

    @property
    def first(self) -> int | None:
        """Line of the first."""
        return self.lines[0] if self.lines else None

    def add(self, line: int) -> None:
        """Count a value."""
        self.count += 1
        if len(self.lines) < LINES_NAMED_MAX:
            self.lines.append(line)

    def __str__(self) -> str:
        if self.count == 1:
            return f"line {self.first} is not JSON"
        listed = ", ".join(map(str, self.lines))
        if self.count == len(self.lines):
            return f"lines {listed} are not JSON"
        return f"{self.count} values are not JSON, the first in lines {listed}"


def read_documents(parts: Iterable[bytes]) -> Iterator[ReadResult]:
    """Yield the values of a text, with the members of arrays as values. One is in memory at a time.

    ``parts`` are lines with their line feeds; a long line may come in several parts. If the first
    value is a line, each line stands alone, and one that is not JSON costs only itself. Otherwise
    values may span lines. After one that is not JSON, reading continues at the next line that
    begins with a bracket.
    """
    reader = _Reader()
    for part in parts:
        yield from reader.take(part)
    yield from reader.end()


_OPENING = (b"{", b"[")
_OPENING_OF = {b"}": b"{", b"]": b"["}
_STRUCTURE = re.compile(rb'["{}\[\],]')
_IN_STRING = re.compile(rb'\\.?|["\n]', re.DOTALL)
_BEGINS_LINE = re.compile(rb'\{[ \t]*"')
"""How JSON Lines begin. In a value that spans lines, only members of an array begin so in the first
column: the rest is indented, or has its bracket alone in the line.
"""


class _NotJsonError(Exception):
    """The open value is not JSON."""


class _Reader:
    """Splits a text into values: at line feeds where a line is a value, otherwise by brackets."""

    def __init__(self) -> None:
        self._line = 1
        self._line_begins = True
        self._by_lines: bool | None = None  # not known yet
        self._skips_line = self._skips_value = False
        self._text = bytearray()  # of the line or value without its end yet
        self._text_line = 1
        self._open = bytearray()  # brackets
        self._members = 0  # of the open array
        self._in_string = self._is_escaped = False

    def take(self, part: bytes) -> Iterator[ReadResult]:
        """Yield the values that end in this part."""
        if self._line_begins:
            self._skips_value = self._skips_value and not part.startswith(_OPENING)
            if self._begins_again(part):
                yield self._give_up()
        if not (self._skips_line or self._skips_value):
            yield from self._scan(part) if self._open else self._take_line(part)
        self._line_begins = part.endswith(b"\n")
        if self._line_begins:
            self._skips_line = False
            self._line += 1

    def end(self) -> Iterator[ReadResult]:
        """Yield the last value, if no line feed follows it."""
        if self._text and not self._open:
            yield from self._whole_line(self._taken())
        if self._open:
            yield self._give_up()

    def _begins_again(self, part: bytes) -> bool:
        """Return whether a line begins a value although one is open: that one has no end."""
        if not self._open or not _BEGINS_LINE.match(part):
            return False
        in_array = self._open.startswith(b"[")
        return not in_array or (len(self._open) == 1 and bool(self._text.strip()))

    def _take_line(self, part: bytes) -> Iterator[ReadResult]:
        first = not self._text
        if first:
            self._text_line = self._line
            part = part.removeprefix(BYTE_ORDER_MARK)
        if first and part.endswith(b"\n"):
            yield from self._whole_line(part)
        elif first and not self._by_lines and part.lstrip().startswith(b"["):
            yield from self._scan(part)
        else:
            self._text += part
            if part.endswith(b"\n"):
                yield from self._whole_line(self._taken())
            elif len(self._text) > VALUE_BYTES_MAX:
                yield self._fail()

    def _whole_line(self, line: bytes) -> Iterator[ReadResult]:
        text = line.strip()
        if not text:
            return
        try:
            value = parse(text)
        except ValueError:
            if text.startswith(_OPENING) and (not self._by_lines or text in _OPENING):
                yield from self._scan(line)
            else:
                yield Broken(self._line)
            return
        if isinstance(value, list):
            for member in value:
                yield Document(self._line, dump(member).encode(), member)
            return
        if self._by_lines is None:
            self._by_lines = True
        yield Document(self._line, text, value)

    def _scan(self, part: bytes) -> Iterator[ReadResult]:
        """Follow strings and brackets to the end of the value, or of the part."""
        try:
            yield from self._values(part)
        except _NotJsonError:
            yield self._fail()

    def _values(self, part: bytes) -> Iterator[ReadResult]:
        if not self._open:
            self._text_line = self._line
        start = position = 0
        while token := _STRUCTURE.search(part, position := self._past_string(part, position)):
            position, mark = token.end(), token[0]
            if mark == b'"':
                self._in_string = True
            elif mark in _OPENING:
                self._open += mark
                if self._open == b"[":
                    start, self._members = position, 0
            elif mark == b",":
                if self._open == b"[":
                    yield self._member(part[start : token.start()])
                    start = position
            elif self._closes_last(mark):
                inside, rest = part[start : token.start()], part[position:]
                yield from self._end_of_value(mark, inside, rest)
                return
        self._text += part[start:]
        if len(self._text) > VALUE_BYTES_MAX:
            raise _NotJsonError

    def _past_string(self, part: bytes, position: int) -> int:
        """Return the position after the string, if it is one; the end of the part if it is open."""
        if not self._in_string:
            return position
        skipped, self._is_escaped = int(self._is_escaped), False
        for token in _IN_STRING.finditer(part, position + skipped):
            if token[0] == b"\n":
                raise _NotJsonError
            if token[0] == b'"':
                self._in_string = False
                return token.end()
            self._is_escaped = token[0] == b"\\"  # the character is in the next part
        return len(part)

    def _closes_last(self, mark: bytes) -> bool:
        """Close a bracket; return whether it is the last one, which remains."""
        if not self._open.endswith(_OPENING_OF[mark]):
            raise _NotJsonError
        if len(self._open) == 1:
            return True
        self._open.pop()
        return False

    def _member(self, text: bytes) -> ReadResult:
        """Return a member of the open array, whose last part this is."""
        line, self._text_line = self._text_line, self._line
        self._members += 1
        return _parsed(self._taken() + text, line)

    def _end_of_value(self, mark: bytes, text: bytes, rest: bytes) -> Iterator[ReadResult]:
        """Yield an object, or the last member of an array. Nothing may follow it in its line."""
        alone = not rest.strip()
        if self._by_lines is None and self._text_line < self._line:
            self._by_lines = False
        if mark == b"]":
            if self._members or self._text.strip() or text.strip():
                yield self._member(text)
        elif alone:
            yield _parsed(self._taken() + text + mark, self._text_line)
        self._reset()
        if not alone:
            self._skips_line = True
            yield Broken(self._line)

    def _fail(self) -> Broken:
        """Drop the open value because of what is in the current line."""
        self._skips_line = True
        self._skips_value = self._text_line < self._line
        self._reset()
        return Broken(self._line)

    def _give_up(self) -> Broken:
        """Drop the open value because it has no end."""
        line = _begin(self._text_line, bytes(self._text))
        self._reset()
        return Broken(line)

    def _taken(self) -> bytes:
        """Return the text so far, and begin the next one."""
        text = bytes(self._text)
        self._text.clear()
        return text

    def _reset(self) -> None:
        self._text.clear()
        self._open.clear()
        self._in_string = self._is_escaped = False


def _parsed(text: bytes, line: int) -> ReadResult:
    """Return the value of a text that begins in this line."""
    begin = _begin(line, text)
    try:
        return Document(begin, text.strip(), parse(text.strip()))
    except json.JSONDecodeError as error:
        return Broken(begin + error.lineno - 1)
    except ValueError:
        return Broken(begin)


def _begin(line: int, text: bytes) -> int:
    """Return the line of the first character that is not blank."""
    return line + text.count(b"\n", 0, len(text) - len(text.lstrip()))
