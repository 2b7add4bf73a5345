"""A real Apache Kafka on this machine, by the first way that works."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from stream.devtools import Say, silent
from stream.devtools.cluster import LocalBroker
from stream.devtools.container import container
from stream.errors import StartupError

__all__ = ["LocalBroker", "broker", "run_foreground"]

ADDRESS_VARIABLE = "KAFKA__BOOTSTRAP_SERVERS"

Way: TypeAlias = Callable[[], AbstractContextManager[str]]
"""Opens a Kafka and gives its bootstrap servers; a StartupError says why it cannot."""


@contextmanager
def broker(*, nodes: int = 1, say: Say = silent) -> Iterator[str]:
    """Yield the bootstrap servers of a Kafka, by the first way that works.

    ``KAFKA__BOOTSTRAP_SERVERS`` when set, taken as it is; else a container; else Kafka's
    own jars.

    Raises:
        StartupError: no way works; the message names the three and why each failed.
    """
    given = os.environ.get(ADDRESS_VARIABLE)
    if given:
        yield given
        return
    ways: Mapping[str, Way] = MappingProxyType(
        {
            "Docker": partial(container, nodes=nodes, say=say),
            "Java 17 and Maven": partial(_processes, nodes=nodes, say=say),
        }
    )
    with ExitStack() as stack:
        yield _enter_first(ways, stack)


def run_foreground(port: int | None, directory: Path | None, nodes: int, say: Say) -> None:
    """Run a Kafka until SIGINT or SIGTERM; stdout gets its bootstrap servers, once it is up.

    Raises:
        StartupError: it did not come up, or a node ended.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        LocalBroker(nodes=nodes, port=port, directory=directory, say=say) as local,
    ):
        sys.stdout.write(f"{local.bootstrap_servers}\n")
        sys.stdout.flush()
        local.wait()


@contextmanager
def _processes(*, nodes: int, say: Say) -> Iterator[str]:
    with LocalBroker(nodes=nodes, say=say) as local:
        yield local.bootstrap_servers


def _enter_first(ways: Mapping[str, Way], stack: ExitStack) -> str:
    failures = [f"1. {ADDRESS_VARIABLE}: is not set"]
    for number, (name, way) in enumerate(ways.items(), start=2):
        try:
            return stack.enter_context(way())
        except StartupError as error:
            failures.append(f"{number}. {name}: {error}")
    reasons = "\n".join(failures)
    raise StartupError(
        f"no Kafka can be had; there are three ways, make one of them work:\n{reasons}",
        exit_code=69,
    )
