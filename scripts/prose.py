"""Report words that the field does not use, each with the word to use instead.

``python -m scripts.prose`` checks docstrings, comments and string literals of the code, the names in
it, the chart and the documents, generated pages included. It prints one line per occurrence and
exits with 1 if there is any. `make check` and tests/test_prose.py run it.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """Forms of a word or phrase, and what to write instead; ``in_names`` covers identifiers too."""

    forms: tuple[str, ...]
    instead: str
    in_names: bool = False


WORDS = (
    Entry(("mend", "mends", "mended", "mending"), "fix", in_names=True),
    Entry(("anew",), "again, from the beginning", in_names=True),
    Entry(("desk", "desks"), "session", in_names=True),
    Entry(("pulse", "pulses"), "heartbeat, probe", in_names=True),
    Entry(("heed", "heeds", "heeded", "heeding"), "apply, obey"),
    Entry(("of ours",), "own"),
    Entry(
        ("stand still", "stands still", "standing still", "stood still", "standstill"),
        "is paused, is stalled",
    ),
    Entry(("go on", "goes on", "going on", "gone on", "went on"), "continue, resume"),
    Entry(("is away", "are away", "was away", "were away", "be away"), "is unavailable"),
    Entry(("no use",), "unusable"),
    Entry(("told",), "receives, is given, reports"),
    Entry(("hear", "hears"), "receive, is notified"),
    Entry(("say so", "says so", "said so"), "reports it"),
    Entry(("so many",), "N, at most N"),
    Entry(("as many as",), "up to, the number of"),
    Entry(("the same again",), "the same, or: repeats it"),
    Entry(("all the same",), "anyway"),
    Entry(("by hand",), "manually"),
    Entry(("for want of",), "without"),
    Entry(("lest",), "so that … not"),
    Entry(("whoever",), "a noun: the caller, the worker"),
    Entry(("behind our back", "behind the caller's back"), "without notice"),
)

FOLDERS = ("docs", "helm", "scripts", "sink", "stream")
FILES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "schemas/avro/README.md",
)
SUFFIXES = {".html", ".json", ".md", ".py", ".tpl", ".txt", ".yaml"}
EXCEPT = {"scripts/prose.py"}

FORMS = {form: entry for entry in WORDS for form in entry.forms}
NAMES = {form for form, entry in FORMS.items() if entry.in_names}
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""One part of a name: of ``LOGIN_FIX``, ``loginFix`` and ``LoginFix`` the part that is "fix"."""
PHRASES = re.compile(
    r"\b(?:"
    + "|".join(re.escape(form).replace(r"\ ", r"[\s#]+") for form in FORMS if form not in NAMES)
    + r")\b",
    re.IGNORECASE,
)
"""A phrase may be wrapped, also in a comment."""
ESCAPE = re.compile(r"\\[nrt\"'\\\n]")
LITERAL = re.compile(r"[a-z]*('''|\"\"\"|'|\")", re.IGNORECASE)
QUOTES = {
    getattr(tokenize, name) for name in ("FSTRING_START", "FSTRING_END") if hasattr(tokenize, name)
}
TEXT = {
    getattr(tokenize, name) for name in ("COMMENT", "FSTRING_MIDDLE") if hasattr(tokenize, name)
}


@dataclass(frozen=True, slots=True)
class Finding:
    """An occurrence of a form."""

    path: str
    line: int
    form: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.form}: use {FORMS[self.form].instead}"


def text_of_code(source: str) -> str:
    """Return comments and string literals of Python code, at the offsets where they are.

    Quotes become spaces, so that a phrase is found in adjacent literals; code becomes NUL.
    """
    starts = [0, *(found.end() for found in re.finditer("\n", source))]
    text = list(re.sub(r"\S", "\0", source))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in TEXT:
            shown = token.string
        elif token.type in QUOTES:
            shown = " " * len(token.string)
        elif token.type == tokenize.STRING and (quoted := LITERAL.match(token.string)):
            before, after = len(quoted[0]), len(quoted[1])
            shown = " " * before + token.string[before:-after] + " " * after
        else:
            continue
        begin = starts[token.start[0] - 1] + token.start[1]
        shown = ESCAPE.sub("  ", shown)
        text[begin : begin + len(shown)] = shown
    return "".join(text)


def check(path: str, source: str) -> list[Finding]:
    """Return the findings of one file, in order of their lines."""
    names = text = source
    if path.endswith(".py"):
        names, text = ESCAPE.sub("  ", source), text_of_code(source)
    found = [
        (one.start(), one[0].lower()) for one in PART.finditer(names) if one[0].lower() in NAMES
    ]
    found += [
        (one.start(), re.sub(r"[\s#]+", " ", one[0]).lower()) for one in PHRASES.finditer(text)
    ]
    return [Finding(path, source.count("\n", 0, at) + 1, form) for at, form in sorted(found)]


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the files that are checked."""
    for name in FILES:
        if (root / name).is_file():
            yield root / name
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SUFFIXES and str(path.relative_to(root)) not in EXCEPT:
                yield path


def findings(root: Path = ROOT) -> list[Finding]:
    """Return the findings of all files."""
    return [
        one
        for path in files(root)
        for one in check(str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    ]


def main(root: Path = ROOT) -> int:
    """Print the findings and return the exit code."""
    found = findings(root)
    sys.stdout.writelines(f"{one}\n" for one in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
