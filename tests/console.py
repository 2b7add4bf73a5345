"""The `console` blocks of the documents: commands, and the output that they are said to have."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- console(?P<needs>[^>]*) -->\n)?```console\n(?P<body>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
ANYTHING = "…"
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{20,}\b"), "ID"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:s|ms|a second)\b"), "DURATION"),
)
"""What differs from run to run."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Step:
    """A command and its output."""

    command: str
    output: str


@dataclass(frozen=True, slots=True)
class Block:
    """A block; ``needs`` are the words of the comment above it: kafka, stack, numbers-vary."""

    name: str
    needs: frozenset[str]
    steps: tuple[Step, ...]

    def differs(self, step: Step, output: str) -> str | None:
        """Return how an output differs from the documented one; None where it does not."""
        expected, found = self._plain(step.output), self._plain(output)
        pattern = "".join(map(_line, expected.splitlines()))
        if re.fullmatch(pattern, f"{found}\n"):
            return None
        return f"{self.name}: {step.command}\nsays\n{expected}\nand prints\n{found}"

    def _plain(self, text: str) -> str:
        for pattern, name in VARYING:
            text = pattern.sub(name, text)
        if "numbers-vary" in self.needs:
            text = NUMBER.sub("N", text)
        return "\n".join(
            re.sub(r"[\s━─]+", " ", line).strip() for line in text.strip().splitlines()
        )


def _line(expected: str) -> str:
    if expected == ANYTHING:
        return r"(?:.*\n)*?"
    return ".*?".join(map(re.escape, expected.split(ANYTHING))) + r"\n"


def blocks(path: Path) -> Iterator[Block]:
    """Yield the console blocks of a document."""
    for number, found in enumerate(BLOCK.finditer(path.read_text(encoding="utf-8")), 1):
        steps = []
        for part in re.split(r"^\$ ", found["body"], flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            steps.append(Step(command, output))
        needs = frozenset((found["needs"] or "").lstrip(":").split())
        yield Block(f"{path.name} {number}", needs, tuple(steps))
