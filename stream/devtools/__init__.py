"""Local Kafka and sample traffic, for the demo, the tests and trials."""

from collections.abc import Callable
from typing import TypeAlias

Say: TypeAlias = Callable[[str], None]
"""Prints one line of progress."""


def silent(_: str) -> None:
    """Print nothing."""
