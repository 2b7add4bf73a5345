"""Secrets in files: ``NAME_FILE`` is the path of a file that holds what ``NAME`` would."""

from collections.abc import Collection, Mapping
from pathlib import Path

SUFFIX = "_FILE"


def file_names(secrets: Collection[str]) -> list[str]:
    """Return the names that take the path of a secret's file."""
    return [f"{name}{SUFFIX}" for name in secrets]


def with_files(
    environment: Mapping[str, str], secrets: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the environment with the files' contents under the secrets' own names, and what is
    wrong with the files. A line's end behind a secret is not part of it.
    """
    found = {name.upper(): value for name, value in environment.items()}
    problems = []
    for secret, name in zip(secrets, file_names(secrets), strict=True):
        path = found.pop(name, "")
        if not path:
            continue
        if found.get(secret):
            problems.append(f"{secret} and {name} are both set: leave one out")
            continue
        try:
            found[secret] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            text = f"what is set is {len(path)} characters, and has to be the path of a file"
            problems.append(f"{name} cannot be read: {why}; {text} with {secret}")
    return found, problems
