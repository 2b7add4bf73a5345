"""What the service refuses to start on, and what it says then."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import forked
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from stack import Stack
from waiting import STILL_S

from stream.kafka import topic_policies
from stream.kafka.topic_creation import create
from stream.kafka.topic_policies import COMPACTION_LAG, DAY_MS
from stream.kafka.topics import topic_configs


def run(*arguments: str, env: Mapping[str, str], stdin: bytes = b"") -> subprocess.CompletedProcess:
    """Run the command in an environment that has no settings of its own."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA__", "WOOTRIC__", "HTTP__", "LOG__", "OTEL_"))
    }
    command = [sys.executable, "-m", "stream", *arguments]
    return forked.run(command, env={**clean, **env}, stdin=stdin, timeout=STILL_S)


def refused(stack: Stack, **changes: str | None) -> tuple[int, str]:
    environment = {**stack.environment("w1"), **changes}
    given = {name: value for name, value in environment.items() if value is not None}
    done = run("run", env={**given, "HTTP__PORT": "0"})
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"WOOTRIC__CLIENT_SECRET": None}, 78, "credentials are missing"),
        ({"WOOTRIC__ACCOUNT_TOKEN": None}, 78, "WOOTRIC__ACCOUNT_TOKEN"),
        ({"KAFKA__BOOTSTRAP_SERVERS": None}, 78, "KAFKA__BOOTSTRAP_SERVERS"),
        ({"KAFKA__GRUOP_ID": "x"}, 78, "did you mean KAFKA__GROUP_ID?"),
        ({"WOOTRIC__REQUEST_TIMEOUT_S": "soon"}, 78, "WOOTRIC__REQUEST_TIMEOUT_S"),
        ({"WOOTRIC__REQUEST_TIMEOUT_S": "soon"}, 78, "text of 4 characters. Total timeout"),
        ({"KAFKA__PROPERTIES": "{1"}, 78, "KAFKA__PROPERTIES is not valid JSON: error at"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector"}, 78, "OTLP over HTTP"),
        (
            {"HTTPS_PROXY": "socks5://a:b@proxy", "SCHEMA_REGISTRY__URL": "https://registry"},
            78,
            "HTTPS_PROXY must be a URL such as http://",
        ),
        ({"KAFKA__TOPIC": "nowhere"}, 78, "wootric-stream topics create"),
        ({"KAFKA__SESSION_TIMEOUT_S": "2"}, 78, "KAFKA__SESSION_TIMEOUT_S"),
        ({"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}, 69, "KAFKA__BOOTSTRAP_SERVERS"),
        ({"KAFKA__PROPERTIES": '{"socket.timeout.ms":60000}'}, 78, "set it to 10100 or less"),
        ({"WOOTRIC__ACCOUNT_TOKEN": "garbage"}, 78, "WOOTRIC__ACCOUNT_TOKEN: does not look like"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_refuses_with_a_message_that_says_what_to_do(
    stack: Stack, changes: dict[str, str | None], code: int, says: str
) -> None:
    """No settings, wrong settings, wrong topics, no Kafka: each has its exit code."""
    got, text = refused(stack, **changes)
    assert says in text
    assert got == code
    assert "a-secret-of-tests" not in text


async def test_refuses_a_ledger_with_another_number_of_partitions(stack: Stack) -> None:
    """An event's intent must lie in the partition of its own number."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    wider = NewPartitions(stack.config.topic, stack.partitions + 1)
    admin.create_partitions([wider])[stack.config.topic].result()
    code, text = refused(stack)
    assert code == 78
    assert "3 partitions, but the input has 4" in text


async def test_topics_create_can_be_repeated_and_check_agrees(stack: Stack) -> None:
    """What exists is left as it is."""
    environment = stack.environment("w1")
    for command in ("create", "check"):
        done = run("topics", command, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b"ok ") == 4
    missing = run("topics", "check", env={**environment, "KAFKA__TOPIC": "nowhere"})
    assert missing.returncode == 1
    assert missing.stdout.count(b"FAIL") == 4
    done = run("topics", "check", "--json", env=environment)
    document = json.loads(done.stdout)
    assert (document["ok"], len(document["findings"])) == (True, 4)


async def test_topics_create_without_yes_only_shows_what_it_would_do(stack: Stack) -> None:
    """And what it creates keeps personal data as the settings name it."""
    topic = f"{stack.config.topic}.shown"
    kept = {"KAFKA__DEAD_LETTER_RETENTION_S": str(14 * 86_400)}
    environment = {**stack.environment("w1"), "KAFKA__TOPIC": topic, **kept}
    done = run("topics", "create", env=environment)
    assert (done.returncode, done.stdout.count(b"would be created")) == (0, 4), done.stderr
    assert b"repeat with --yes" in done.stdout
    assert topic not in stack.admin.list_topics(timeout=10).topics
    done = run("topics", "create", "--yes", env=environment)
    assert (done.returncode, done.stdout.count(b": created with")) == (0, 4), done.stdout
    found = topic_configs(stack.admin, [f"{topic}.wootric.dlq", f"{topic}.wootric.ledger"])
    assert found[f"{topic}.wootric.dlq"]["retention.ms"] == str(14 * DAY_MS)
    assert found[f"{topic}.wootric.ledger"][COMPACTION_LAG] == str(DAY_MS)
    done = run("topics", "check", env={**environment, "KAFKA__DEAD_LETTER_RETENTION_S": "86400"})
    assert (done.returncode, done.stdout.count(b"warn")) == (0, 2)
    assert b"kept for 14 days, but KAFKA__DEAD_LETTER_RETENTION_S is 24 h" in done.stdout


async def test_a_setting_that_the_cluster_refuses_is_left_out(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Providers allow some only. Kafka itself refuses a negative compaction lag."""
    monkeypatch.setattr(topic_policies, "COMPACTION_LAG_MS", -1)
    ledger = f"{stack.config.topic}.other"
    config = replace(stack.config, ledger_topic=ledger)
    found = create(config, partitions=1, replication_factor=1, dedupe_window_s=7 * 86_400)
    texts = [one.text for one in found if one.topic == ledger]
    assert "created without max.compaction.lag.ms: the cluster refuses it" in texts[1]
    assert "compact" in topic_configs(stack.admin, [ledger])[ledger]["cleanup.policy"]


async def test_an_input_at_kafkas_defaults_is_taken_with_a_window_that_fits(stack: Stack) -> None:
    """With the default window it is not, and the message has the figures of the one that is."""
    first, second = (f"{stack.config.topic}.{name}" for name in ("first", "second"))
    for topic, answer in stack.admin.create_topics([NewTopic(first), NewTopic(second)]).items():
        answer.result()
        assert topic in (first, second)
    environment = {**stack.environment("w1"), "KAFKA__TOPIC": first}
    done = run("topics", "create", "--yes", env=environment)
    assert done.returncode == 1
    assert b"up to 14 days (retention.ms 7 days + segment.ms 7 days)" in done.stdout
    assert b"KAFKA__DEDUPE_WINDOW_S=1296000 (15 days)" in done.stdout
    longer = {**environment, "KAFKA__TOPIC": second, "KAFKA__DEDUPE_WINDOW_S": "1296000"}
    for command in (("create", "--yes"), ("check",)):
        done = run("topics", *command, env=longer)
        assert (done.returncode, done.stdout.count(b"FAIL")) == (0, 0), done.stdout


BROKEN = b'{"type":"identify","userId":"u1"}\n{"type":\n\n42\n{"messageId":"m"}\n'


async def test_publish_passes_on_all_that_is_json(stack: Stack) -> None:
    """Stdin cannot be read twice: a line that is not JSON is named, the others are published."""
    done = run("publish", "-", env=stack.environment("w1"), stdin=BROKEN)
    assert done.returncode == 1
    assert done.stdout == b"3\n"
    assert b"line 2 is not JSON; everything else was published" in done.stderr
    keys = {message.key() for message in stack.read(stack.config.topic)}
    assert keys == {b"u1", b"m", None}
    done = run("publish", "--json", "-", env=stack.environment("w1"), stdin=b'{"type":"page"}\n')
    assert json.loads(done.stdout) == {"published": 1, "broken": 0, "first_broken": None}


async def test_publish_takes_a_file_as_a_whole_or_not_at_all(stack: Stack, tmp_path: Path) -> None:
    """Of a file with a line that is not JSON nothing is published, so that it can be corrected."""
    file, environment = tmp_path / "events.json", stack.environment("w1")
    file.write_bytes(BROKEN)
    done = run("publish", "--json", str(file), env=environment)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"published": 0, "broken": 1, "first_broken": 2}
    assert b"line 2 is not JSON; nothing was published" in done.stderr
    assert not list(stack.read(stack.config.topic))
    events = [{"type": "page", "userId": f"u{number}"} for number in range(3)]
    file.write_text("\ufeff" + json.dumps(events, indent=2), encoding="utf-8")
    done = run("publish", str(file), env=environment)
    assert (done.returncode, done.stdout) == (0, b"3\n"), done.stderr
    keys = {message.key() for message in stack.read(stack.config.topic)}
    assert keys == {b"u0", b"u1", b"u2"}


@pytest.mark.parametrize("command", ["topics check", "run", "status"])
def test_a_property_that_the_client_does_not_know_is_a_matter_of_settings(command: str) -> None:
    """A line with the fix, and no traceback."""
    wrong = {
        "KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA__PROPERTIES": '{"sasl.mecanism":"PLAIN"}',
        "WOOTRIC__ACCOUNT_TOKEN": "NPS-0a1b2c3d",
        "WOOTRIC__CLIENT_ID": "a",
        "WOOTRIC__CLIENT_SECRET": "b",
        "BRIDGE__SHARED_SECRET": "c" * 16,
    }
    done = run(*command.split(), env=wrong)
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert "sasl.mecanism" in line
    assert "check KAFKA__PROPERTIES" in line
