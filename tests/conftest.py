"""What all tests share: one Kafka for the whole run."""

import sys
from collections.abc import Iterator

import pytest

from stream.local.broker import broker


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    """A real Apache Kafka. A run without one fails: the guarantee would be untested."""
    with broker(say=lambda line: print(line, file=sys.stderr)) as address:
        yield address
