"""Log lines: who speaks, what is sampled, what is not."""

import asyncio
import json
import os
import subprocess
import sys

import structlog
from prometheus_client import CollectorRegistry
from stack import free_port
from waiting import STILL_S

from stream.telemetry.http import HealthServer
from stream.telemetry.log import WINDOW_ERRORS_MAX, WINDOW_LINES_MAX, WINDOW_S, Sampler


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def passes(sampler: Sampler, **fields: object) -> dict | None:
    try:
        return sampler(None, "", {"level": "warning", **fields})
    except structlog.DropEvent:
        return None


def test_lines_that_say_the_same_are_sampled_and_counted():
    """Five pass, the others are counted, and the first one after a while tells how many."""
    clock = Clock()
    sampler = Sampler(clock)
    same = {"event": "kafka_client_error", "error": "broker down"}
    assert [bool(passes(sampler, **same)) for _ in range(8)] == [True] * WINDOW_LINES_MAX + [
        False
    ] * 3
    assert passes(sampler, event="kafka_client_error", error="another")
    clock.now += WINDOW_S
    assert passes(sampler, **same) == {"level": "warning", **same, "suppressed": 3}
    assert passes(sampler, **same) == {"level": "warning", **same}


def test_of_errors_more_pass_before_they_are_counted_only():
    """A circuit that opens twenty times is twenty changes of state; a defect in each of ten
    thousand requests is one.
    """
    clock = Clock()
    sampler = Sampler(clock)
    opened = {"event": "circuit_opened", "level": "error"}
    assert all(passes(sampler, **opened) for _ in range(20))
    failed = {"event": "request_failed", "level": "error", "error": "KeyError", "where": "a:1"}
    assert sum(bool(passes(sampler, **failed)) for _ in range(10_000)) == WINDOW_ERRORS_MAX
    assert passes(sampler, **{**failed, "where": "b:2"})
    clock.now += WINDOW_S
    assert passes(sampler, **failed) == {**failed, "suppressed": 10_000 - WINDOW_ERRORS_MAX}


def test_numbers_make_no_other_line():
    """Kafka's client puts ports and times into what it says."""
    sampler = Sampler(Clock())
    texts = (f"127.0.0.1:{port}: refused (after {port % 7}ms)" for port in range(9000, 9100))
    passed = [passes(sampler, event="commit_unknown", error=text) for text in texts]
    assert sum(map(bool, passed)) == WINDOW_LINES_MAX


def test_windows_do_not_pile_up():
    """Errors hold ports and names: as many keys as there are of them would be a leak."""
    clock = Clock()
    sampler = Sampler(clock)
    for number in range(1000):
        passes(sampler, event="kafka_client_error", error="port " + "x" * number)
        clock.now += 1
    passes(sampler, event="kafka_client_error", error="port ")
    assert len(sampler._windows) < 2 * WINDOW_S


SCRIPT = """
import threading, structlog
from stream.telemetry import log as logs
logs.configure(level="INFO", as_json=True, instance="w1")
counted = []
logs.listen(lambda event, level: counted.append(event))
log = structlog.get_logger()
def speak():
    for number in range(9):
        log.warning("kafka_client_error", error="the same")
thread = threading.Thread(target=speak); thread.start(); thread.join()
log.debug("committed")
print(len(counted))
"""


def test_every_line_says_who_speaks_and_every_line_is_counted():
    """Also from the client's threads."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, check=True, timeout=STILL_S
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == WINDOW_LINES_MAX
    for line in lines:
        assert (line["instance"], line["service"]) == ("w1", "wootric-stream")
        assert {"ts", "version", "level", "event"} <= line.keys()
    assert done.stdout == b"9\n"


DEFECT = """
import structlog
from stream.telemetry import log
log.configure(level="INFO", as_json={as_json}, instance="w1")
def inner(secret):
    raise ValueError(f"cannot use {{secret}}")
def outer():
    person = "ada@example.com"
    try:
        inner("hunter2")
    except ValueError as error:
        raise LookupError(person) from error
try:
    outer()
except LookupError:
    structlog.get_logger().error("request_failed", exc_info=True)
"""


def test_an_unexpected_exception_is_logged_without_variables_and_words():
    """Only its kinds and the way to it."""
    command = [sys.executable, "-c", DEFECT.format(as_json=True)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=STILL_S)
    assert "hunter2" not in done.stderr
    assert "ada@example.com" not in done.stderr
    (line,) = done.stderr.splitlines()
    outer, inner = json.loads(line)["exception"]
    assert (outer["type"], inner["type"]) == ("LookupError", "ValueError")
    assert [frame.rpartition(" ")[2] for frame in inner["frames"]] == ["outer", "inner"]
    assert inner["cause"]


def test_a_console_shows_no_variables_and_words_either():
    command = [sys.executable, "-c", DEFECT.format(as_json=False)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=STILL_S)
    assert "hunter2" not in done.stderr
    assert "ada@example.com" not in done.stderr
    _, first, *rest = done.stderr.splitlines()
    assert first == "LookupError"
    assert "  caused by ValueError" in rest
    assert all(line.startswith(("  <string>:", "  caused by ")) for line in rest)


LIBRARY = """
import logging
from stream.telemetry import log
log.configure(level="INFO", as_json={as_json}, instance="w1")
for number in range(100):
    try:
        raise ValueError("hunter2")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling %s", "192.0.2.1")
logging.getLogger("exporter").warning("took too long: %s", "ada@example.com")
logging.getLogger("exporter").info("nobody asked")
logging.getLogger("asyncio").error("Task failed\\nfuture: <Task exception=ValueError('hunter2')>")
logging.getLogger("asyncio").error("Exception in callback f('hunter2')")
"""


def test_what_libraries_log_is_in_our_form_and_sampled():
    """Their exceptions' words and what they put into their texts are left out."""
    command = [sys.executable, "-c", LIBRARY.format(as_json=True)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=STILL_S)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [
        *["library_error"] * WINDOW_ERRORS_MAX,
        "library_warning",
        "library_error",
        "library_error",
    ]
    assert lines[-1]["where"] == "asyncio: Exception in callback f"
    assert (lines[0]["where"], lines[0]["error"]) == (
        "aiohttp.server: Error handling %s",
        "ValueError",
    )
    assert "hunter2" not in done.stderr
    assert "192.0.2.1" not in done.stderr
    assert "ada@example.com" not in done.stderr


def test_what_libraries_log_is_shown_on_a_console_too():
    command = [sys.executable, "-c", LIBRARY.format(as_json=False)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=STILL_S)
    assert done.stderr.count("library_error") == WINDOW_ERRORS_MAX + 2
    assert done.stderr.count("ValueError\n") == WINDOW_ERRORS_MAX
    assert "hunter2" not in done.stderr


async def test_what_is_no_http_is_nobodys_log_line(caplog):
    """A scanner must not fill the log with what it sends."""
    server = HealthServer(CollectorRegistry(), {"/livez": list})
    port = free_port()
    await server.start("127.0.0.1", port)
    for junk in (b"GARBAGE\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: hunter2\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(junk)
        assert b" 400 " in await reader.read()
        writer.close()
    await server.close()
    assert caplog.records == []


BROKEN = """
import sys
import stream.runtime.worker

async def serve(settings, destination):
    raise ValueError("ann@example.com")

stream.runtime.worker.serve = serve
sys.argv = ["wootric-stream", "run"]
from stream.cli.app import main
main()
"""


def test_what_nobody_foresaw_ends_in_the_log_without_its_words() -> None:
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": "nowhere:9092",
        "WOOTRIC__ACCOUNT_TOKEN": "NPS-0a1b2c3d",
        "WOOTRIC__CLIENT_ID": "a-client",
        "WOOTRIC__CLIENT_SECRET": "a-secret-of-tests",
    }
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=STILL_S,
    )
    (line,) = ended.stderr.splitlines()
    said = json.loads(line)
    assert (ended.returncode, said["event"], said["level"]) == (1, "unhandled_error", "error")
    assert said["error"] == "ValueError"
    assert "ann@" not in line
