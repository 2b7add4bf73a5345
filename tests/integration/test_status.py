"""`wootric-stream status`: the group at a glance, with and without workers."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from stack import Stack
from test_service import identify, response
from test_startup import run
from waiting import STILL_S, until_now

from stream.operations.status import sparkline


async def status(stack: Stack, *arguments: str) -> dict:
    done = await asyncio.to_thread(
        run, "status", "--json", *arguments, env={**stack.environment("w1"), "HTTP__PORT": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_the_status_says_how_the_group_is(stack: Stack) -> None:
    """Nobody lives; then a worker is asked; then Wootric refuses it and it says why."""
    await asyncio.to_thread(stack.publish, [identify(n, f"m{n}") for n in range(9)])
    alone = await status(stack)
    assert (alone["verdict"], alone["lag_records"], alone["members"]) == ("bad", 9, [])
    assert alone["summary"] == "No worker is running; 9 events waiting"
    worker = stack.worker("w1")
    worker.start()
    stack.publish([response(1, "bad", 11)])
    await stack.until_caught_up()
    url = f"http://127.0.0.1:{worker.port}"
    well = await status(stack, "--url", url)
    assert (well["verdict"], well["summary"], well["members"]) == ("ok", "Caught up", ["w1"])
    assert well["arriving_per_s"] == well["settling_per_s"] == 0
    assert well["dead_letters"] >= 1
    assert well["workers"][0]["status"]["settled"]["rejected"] == {"invalid_score": 1}
    stack.wootric.behaviour = stack.wootric.behaviour.changed({"client_secret": "another"})
    stack.wootric.revoke_tokens()
    stack.publish([identify(77, "refused")])
    await worker.until_logged('"circuit_opened"')
    refused = await status(stack, "--url", url, "--url", "http://127.0.0.1:1")
    assert refused["verdict"] == "bad"
    assert "Nothing is sent to Wootric's API" in refused["summary"]
    assert refused["workers"][1] == {"url": "http://127.0.0.1:1", "error": "URLError"}
    assert refused["lag_records"] == 1
    worker.kill()


def test_watching_goes_on_until_it_is_interrupted(stack: Stack, tmp_path: Path) -> None:
    """Without a terminal each look is printed below the one before."""
    output, lines = tmp_path / "output", list[str]()

    def printed() -> int:
        lines[:] = output.read_text().splitlines()
        return len(lines)

    with (
        output.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-m", "stream", "status", "--watch"],
            env={**os.environ, **stack.environment("w1"), "HTTP__PORT": "1"},
            stdout=file,
        ) as process,
    ):
        try:
            until_now(lambda: printed() >= 24, "it has looked twice", printed)
            process.terminate()
            process.wait(STILL_S)
        finally:
            process.kill()
    assert sum("No worker is running" in line for line in lines) >= 2
    assert any(line.split()[:2] == ["arriving", "0/s"] for line in lines)


def test_a_status_without_kafka_says_so() -> None:
    done = run("status", env={"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert done.returncode == 69
    assert b"Kafka does not respond" in done.stderr
    assert b"wootric-stream doctor" in done.stderr
    assert len(done.stderr.splitlines()) == 1  # the client's own lines were twenty a second


def test_a_shell_can_complete_the_commands() -> None:
    done = run(
        "--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert b"complete" in done.stdout
    words = {"COMP_WORDS": "wootric-stream dlq re", "COMP_CWORD": "2"}
    done = run(env={**words, "_WOOTRIC_STREAM_COMPLETE": "complete_bash"})
    assert done.stdout.split() == [b"replay"]


def test_the_highest_value_is_the_highest_bar() -> None:
    assert sparkline([0, 1, 2, 4]) == "▁▃▅█"
    assert sparkline([0, 0]) == "▁▁"
