"""What a failed test leaves for whoever looks into it: a folder each, named where the run ends.

The failure, how to see it again and, of each `Stack` that the test had, the workers' logs, what
the emulator holds and was asked for, what was published and what Kafka has.
"""

import base64
import json
import os
import re
import sys
import time
import weakref
from asyncio import CancelledError
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import leftovers
import pytest
from again import causes
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from stack import Stack

from sink.wootric.emulator.control import CONTROLS
from stream.kafka import config as settings
from stream.ledger_codec import decode

FOLDER = "WOOTRIC_EVIDENCE"
"""The variable that names another folder than the checkout's."""
DEFAULT = Path(__file__).parent.parent / ".evidence"
PROPERTY = "evidence"
ASK_S = 5.0
READ_S = 20.0
"""A Kafka in trouble is part of some tests: it is not waited for."""
NAME_MAX = 120


class OracleError(AssertionError):
    """What is there is not what the events say."""


class Witness:
    """Knows which stacks there are, and which of them ended for which error."""

    def __init__(self) -> None:
        self._made: list[weakref.ref[Stack]] = []
        self._ended: list[tuple[BaseException, Stack]] = []
        self._readers: list[Thread] = []

    def watch(self) -> None:
        """See each stack that is made, and why it ends."""
        make, end = Stack.__post_init__, Stack.end

        def made(stack: Stack) -> None:
            make(stack)
            self._made.append(weakref.ref(stack))

        def ended(stack: Stack) -> None:
            error = sys.exc_info()[1]
            if error is not None and not isinstance(error, CancelledError | GeneratorExit):
                self._ended.append((error, stack))
            end(stack)

        Stack.__post_init__, Stack.end = made, ended  # type: ignore[method-assign]

    def begin(self) -> None:
        """Let the stacks that are made from now on be the next test's."""
        self._made.clear()

    def stacks(self, item: pytest.Item, error: BaseException) -> list[Stack]:
        """Return the stacks that a failed test had."""
        whys = {id(one) for one in causes(error)}
        found = [stack for why, stack in self._ended if id(why) in whys]
        self._ended = [(why, stack) for why, stack in self._ended if id(why) not in whys]
        if not hasattr(getattr(item, "function", None), "scenario"):  # or they are a crowd's
            found += [stack for one in self._made if (stack := one()) is not None]
            found += held(getattr(item, "funcargs", {}).values())
        return list({id(stack): stack for stack in found}.values())

    def read_topics(self, stack: Stack, folder: Path) -> None:
        """Begin to read what Kafka has: those who still run are not held up by that."""
        reader = Thread(target=write_topics, args=(stack, folder), daemon=True)
        reader.start()
        self._readers.append(reader)

    def finish(self) -> None:
        """Return when all is written."""
        for reader in self._readers:
            reader.join()


witness = Witness()


def held(values: Iterable[Any]) -> Iterator[Stack]:
    """Yield the stacks among the values of fixtures."""
    for value in values:
        if isinstance(value, Stack):
            yield value
        elif isinstance(value, tuple):
            yield from held(value)


def pytest_configure() -> None:
    witness.watch()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    witness.begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Keep the evidence of what has failed; the report names its folder."""
    report: pytest.TestReport = yield
    if report.failed and call.excinfo is not None:
        try:
            kept = str(keep(item, report, witness.stacks(item, call.excinfo.value)))
        except Exception as error:  # noqa: BLE001  the failure is what counts
            kept = f"none could be kept: {error!r}"
        report.user_properties.append((PROPERTY, kept))
    return report


def pytest_sessionfinish() -> None:
    """Let it all be written while the broker is there."""
    witness.finish()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the evidence is."""
    lines = [
        f"{report.nodeid}: {kept}"
        for outcome in ("failed", "error", "rerun")
        for report in terminalreporter.stats.get(outcome, ())
        for name, kept in getattr(report, "user_properties", ())
        if name == PROPERTY
    ]
    if lines:
        terminalreporter.section("evidence")
        for line in lines:
            terminalreporter.line(line)


def keep(item: pytest.Item, report: pytest.TestReport, stacks: list[Stack]) -> Path:
    """Write what there is, and return where."""
    folder = free_folder(item.nodeid)
    folder.mkdir(parents=True)
    (folder / "failure.txt").write_text(f"{report.when}\n\n{report.longreprtext}\n")
    (folder / "again.txt").write_text(again(item))
    for stack in stacks:
        place = folder / stack.config.group_id if len(stacks) > 1 else folder
        place.mkdir(exist_ok=True)
        write_stack(stack, place)
        witness.read_topics(stack, place)
    return folder


def free_folder(nodeid: str) -> Path:
    """Return a folder of the run that is not there yet, by the test's name."""
    run = Path(os.environ.get(FOLDER, DEFAULT)) / os.environ[leftovers.RUN]
    name = re.sub(r"[^\w.\[\]-]+", "-", nodeid.removeprefix("tests/"))[:NAME_MAX]
    number = 1
    while (folder := run / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def again(item: pytest.Item) -> str:
    """Say how the test is run again as it was: alone, and among the others in their order."""
    seed = item.config.getoption("randomly_seed", None)
    alone = f"'{item.nodeid}' --randomly-seed={seed} -m ''"
    return (
        f'make test ARGS="{alone}" WORKERS=0\n'
        f'make test ARGS="--randomly-seed={seed}"  # all, in the same order\n'
    )


def write_stack(stack: Stack, folder: Path) -> None:
    """Write what is known without asking Kafka."""
    for log in sorted(stack.folder.glob("*.log")):
        (folder / log.name).write_bytes(log.read_bytes())
    state = CONTROLS["GET", "state"](stack.wootric, None, b"")  # type: ignore[arg-type]
    journal = [entry.to_fields() for entry in stack.wootric.journal.entries]
    write_json(folder / "wootric_state.json", [state])
    write_json(folder / "wootric_journal.jsonl", journal)
    published = [
        {
            "partition": record.partition.number,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            "key": shown(record.key),
            "value": shown(record.value),
        }
        for record in stack.published
    ]
    write_json(folder / "published.jsonl", published)


def write_topics(stack: Stack, folder: Path) -> None:
    """Write what Kafka has committed, as far as it answers."""
    config = stack.config
    for name, topic in (
        ("ledger", config.ledger_topic),
        ("dead_letters", config.dead_letter_topic),
        ("parked", config.parked_topic),
    ):
        write_json(folder / f"{name}.jsonl", rows(stack, topic, is_ledger=name == "ledger"))


def rows(stack: Stack, topic: str, *, is_ledger: bool) -> Iterator[dict[str, Any]]:
    """Yield a topic's records as JSON values, and why there are no more, if there should be."""
    try:
        for message in committed(stack, topic):
            yield row(message, is_ledger=is_ledger)
    except KafkaException as error:
        yield {"here it ends": f"Kafka gave no more of it: {error}"}


def committed(stack: Stack, topic: str) -> Iterator[Message]:
    """Yield a topic's committed records.

    Raises:
        KafkaException: no answer, or not in time.
    """
    reader = Consumer(settings.reader(stack.config))
    try:
        left = set(reader.list_topics(topic, timeout=ASK_S).topics[topic].partitions)
        reader.assign([TopicPartition(topic, number, 0) for number in left])
        patience = time.monotonic() + READ_S
        while left:
            message = reader.poll(0.1)
            if time.monotonic() > patience:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            if message is None:
                continue
            if message.error() is None:
                yield message
            elif message.error().code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
    finally:
        reader.close()


def row(message: Message, *, is_ledger: bool) -> dict[str, Any]:
    """Return a record as JSON values; an entry of the ledger as what it says."""
    value = message.value()
    found = {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp_ms": message.timestamp()[1],
        "key": shown(message.key()),
        "headers": {name: shown(one) for name, one in message.headers() or ()},
        "value": shown(value),
    }
    if is_ledger and value is not None:
        try:
            found["value"] = repr(decode(value))
        except Exception as error:  # noqa: BLE001  whatever is in it, it is evidence
            found["no entry"] = repr(error)
    return found


def shown(value: bytes | None) -> str | None:
    """Return bytes as text, in Base64 if they are none."""
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value).decode()}"
    return text if text.isprintable() else f"base64:{base64.b64encode(value).decode()}"


def write_json(path: Path, values: Iterable[Any]) -> None:
    """Write a JSON value a line."""
    path.write_text("".join(f"{json.dumps(one, default=repr)}\n" for one in values))
