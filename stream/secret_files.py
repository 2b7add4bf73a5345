"""Secrets in files: ``NAME_FILE`` is the path of a file with the value of ``NAME``."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

SUFFIX = "_FILE"
_AROUND = re.compile(r"\A[\s\ufeff\u200b]+|[\s\ufeff\u200b]+\Z")


def clean(text: str) -> str:
    """Return a value without blanks, line ends and byte order marks around it.

    Editors, shells and secret managers add them; no setting begins or ends with one.
    """
    return _AROUND.sub("", text)


def file_names(secrets: Collection[str]) -> list[str]:
    """Return the names of the variables for paths of secrets' files."""
    return [f"{name}{SUFFIX}" for name in secrets]


def with_files(
    environment: Mapping[str, str], secrets: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the environment with the files' contents under the secrets' names, and the problems
    with the files. Values from both are cleaned.
    """
    found = {name.upper(): clean(value) for name, value in environment.items()}
    problems = []
    for secret, name in zip(secrets, file_names(secrets), strict=True):
        path = found.pop(name, "")
        if not path:
            continue
        if found.get(secret):
            problems.append(f"{secret} and {name} are both set: unset one of them")
            continue
        try:
            found[secret] = clean(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            text = f"the value of {len(path)} characters must be the path of a file"
            problems.append(f"{name} cannot be read: {why}; {text} with {secret}")
    return found, problems
