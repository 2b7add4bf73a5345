"""The tokens of a date in free form, cut as V8 cuts them.

Source: V8, ``src/date/dateparser-inl.h`` (v8/v8 at 0fa243af).
"""

import re
from typing import NamedTuple

_NUMBER_DIGITS_MAX = 9  # further digits of a number are read over

BLANKS = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\ufeff"
_TOKEN = re.compile(
    rf"(?P<number>[0-9]+)|(?P<sign>[+-])|(?P<blank>[{BLANKS}])"
    rf"|(?P<word>(?:(?![{BLANKS}])[A-\U0010ffff])+)|(?P<other>.)",
    re.DOTALL,
)


class Token(NamedTuple):
    """A piece of the text; ``kind`` is number, sign, blank, word, other or end."""

    kind: str
    text: str

    @property
    def number(self) -> int:
        """The value of the digits, 0 where there are none."""
        return int(self.text.lstrip("0")[:_NUMBER_DIGITS_MAX] or "0")

    @property
    def milliseconds(self) -> int:
        """The digits as decimals of a second, cut to three."""
        unit: int = 10 ** min(len(self.text), _NUMBER_DIGITS_MAX)
        return self.number * 1000 // unit


END = Token("end", "")


def read_tokens(text: str) -> list[Token]:
    """Return the tokens of a text, and END; what stands in parentheses is one of them."""
    tokens: list[Token] = []
    position = 0
    while match := _TOKEN.match(text, position):
        tokens.append(Token(match.lastgroup or "other", match[0]))
        position = match.end()
        if match[0] == "(":
            depth = 1
            while depth and position < len(text):
                depth += {"(": 1, ")": -1}.get(text[position], 0)
                position += 1
    return [*tokens, END]
