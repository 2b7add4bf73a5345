"""Kafka and sample traffic for one machine: for the demo, the tests and a first try."""

from collections.abc import Callable
from typing import TypeAlias

Say: TypeAlias = Callable[[str], None]
"""Takes one line about what goes on, for a person who waits."""


def silent(_: str) -> None:
    """Say nothing."""
