"""The local Kafka: it starts, keeps transactions, can be broken, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from waiting import STILL_S, until_now

from stream.devtools.downloads import java_major
from stream.devtools.kafka_node import free_ports
from stream.devtools.local_kafka import LocalBroker, broker
from stream.errors import StartupError

pytestmark = pytest.mark.kafka

QUIET = {"log_level": 0}  # librdkafka prints every connection that a test breaks


def create_topic(bootstrap_servers: str, topic: str, replicas: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET})
    new = NewTopic(topic, num_partitions=1, replication_factor=replicas)
    admin.create_topics([new])[topic].result(timeout=STILL_S)


def write(bootstrap_servers: str, topic: str, *, committed: bytes, aborted: bytes) -> None:
    """One transaction that is committed after one that is aborted."""
    producer = Producer(
        {"bootstrap.servers": bootstrap_servers, "transactional.id": f"{topic}-writer", **QUIET}
    )
    producer.init_transactions(STILL_S)
    producer.begin_transaction()
    producer.produce(topic, aborted)
    assert producer.flush(STILL_S) == 0
    producer.abort_transaction(STILL_S)
    producer.begin_transaction()
    producer.produce(topic, committed)
    producer.commit_transaction(STILL_S)


def read(bootstrap_servers: str, topic: str) -> list[bytes | None]:
    """All records that a reader of committed transactions sees, up to the end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{topic}-reader",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            **QUIET,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    while (message := consumer.poll(STILL_S)) is not None and message.error() is None:
        values.append(message.value())
    consumer.close()
    assert message is not None, "the end of the partition never came"
    return values


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def python(script: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process of its own, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(bootstrap_servers):
    topic = f"round-trip-{time.time_ns()}"
    create_topic(bootstrap_servers, topic)
    write(bootstrap_servers, topic, committed=b"kept", aborted=b"dropped")
    assert read(bootstrap_servers, topic) == [b"kept"]


def test_a_given_address_is_taken_as_it_is(monkeypatch):
    """Nothing is started or asked: the address may need settings that we do not know."""
    monkeypatch.setenv("KAFKA__BOOTSTRAP_SERVERS", "kafka.example.com:9092")
    with broker() as address:
        assert address == "kafka.example.com:9092"


def test_a_killed_parent_takes_the_broker_and_its_data_along(tmp_path):
    script = """
from stream.devtools.local_kafka import LocalBroker
with LocalBroker() as local:
    print(local.node(1).pid, flush=True)
    local.wait()
"""
    with python(script, TMPDIR=str(tmp_path)) as parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        assert list(tmp_path.iterdir())
        parent.send_signal(signal.SIGKILL)
        until_now(lambda: not alive(pid), "the broker ends")
        until_now(lambda: not list(tmp_path.iterdir()), "its data is gone")


@pytest.mark.slow
def test_a_broker_started_by_a_thread_outlives_the_thread(tmp_path):
    """The kernel's own parent-death signal would end it with the thread."""
    script = """
from concurrent.futures import ThreadPoolExecutor
from stream.devtools.local_kafka import LocalBroker
local = LocalBroker()
with ThreadPoolExecutor() as threads:
    threads.submit(local.start).result()
print(local.node(1).running, flush=True)
local.stop()
print(local.node(1).running, flush=True)
"""
    with python(script) as parent:
        assert parent.stdout.read().split() == ["True", "False"]


def test_foreground_prints_its_address_and_ends_in_order_on_sigterm(tmp_path):
    port = free_ports(1)[0]
    script = f"""
from pathlib import Path
from stream.devtools.local_kafka import run_foreground
run_foreground(port={port}, directory=Path({str(tmp_path)!r}), nodes=1, say=lambda line: None)
"""
    with python(script) as process:
        assert process.stdout.readline() == f"127.0.0.1:{port}\n"
        create_topic(f"127.0.0.1:{port}", "packed")
        packing = {"bootstrap.servers": f"127.0.0.1:{port}", "compression.type": "lz4", **QUIET}
        producer = Producer(packing)
        producer.produce("packed", b"a" * 5_000)  # worth packing
        assert producer.flush(STILL_S) == 0
        unpacked = list((tmp_path / "node-1").glob("liblz4-java-*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(STILL_S) == 0
    log = (tmp_path / "node-1" / "server.log").read_text()
    assert "shut down completed" in log
    assert unpacked  # and not in the system's folder, where a killed node leaves it


@pytest.mark.slow
def test_a_given_directory_keeps_the_records(tmp_path):
    """Restarted on other ports, it is the same cluster."""
    with LocalBroker(directory=tmp_path) as local:
        create_topic(local.bootstrap_servers, "kept")
        write(local.bootstrap_servers, "kept", committed=b"a", aborted=b"b")
    with LocalBroker(directory=tmp_path) as local:
        assert read(local.bootstrap_servers, "kept") == [b"a"]


@pytest.mark.slow
def test_three_nodes_survive_the_loss_of_one():
    """Killed, then frozen, then all there again: the records are always to be had."""
    with LocalBroker(nodes=3) as local:
        create_topic(local.bootstrap_servers, "replicated", replicas=3)
        local.node(2).kill()
        assert not local.node(2).running
        write(local.bootstrap_servers, "replicated", committed=b"a", aborted=b"b")
        local.node(2).start()
        local.wait_until_ready()
        local.node(3).pause()
        assert local.node(3).running
        local.node(3).resume()
        local.node(1).terminate()
        assert read(local.bootstrap_servers, "replicated") == [b"a"]


def test_own_properties_reach_the_broker_and_its_log_says_why_it_failed():
    with (
        pytest.raises(StartupError, match=r"node 1 .*\n(.*\n)*.*no.such.directory") as raised,
        LocalBroker(properties={"log.dirs": "/dev/null/no.such.directory"}),
    ):
        pass
    assert raised.value.exit_code == 69


@pytest.mark.slow
def test_a_port_in_use_is_no_broker_of_ours(bootstrap_servers):
    """Another Kafka that answers at the port must not pass for the new one."""
    with LocalBroker() as first:
        port = int(first.bootstrap_servers.rpartition(":")[2])
        with (
            pytest.raises(StartupError, match=r"(?i)address already in use"),
            LocalBroker(port=port),
        ):
            pass
        assert first.node(1).running


def test_without_any_kafka_the_error_names_the_three_ways_and_why_each_failed(tmp_path):
    script = """
from stream.errors import StartupError
from stream.devtools.local_kafka import broker
try:
    with broker(): pass
except StartupError as error:
    print(error.exit_code)
    print(error)
"""
    bare = {"PATH": str(tmp_path), "JAVA_HOME": "", "KAFKA__BOOTSTRAP_SERVERS": ""}
    with python(script, **bare, DOCKER_HOST=f"tcp://127.0.0.1:{free_ports(1)[0]}") as process:
        code, headline, *ways = process.stdout.read().splitlines()
    assert code == "69"
    assert "no Kafka is available" in headline
    assert ways == [
        "1. KAFKA__BOOTSTRAP_SERVERS: is not set",
        "2. Docker: no Docker daemon replies",
        "3. Java 17 and Maven: java is not installed; install Java 17",
    ]


def tools(folder: Path, **scripts: str) -> str:
    """A folder of shell scripts to be the PATH, with what they need of the real one."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}/bin"


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ({"java": "echo 'openjdk version \"11.0.2\"' >&2"}, "java is Java 11; Kafka needs 17"),
        ({"java": "true"}, "java is of an unknown version"),
        (
            {
                "java": "echo 'openjdk version \"21\"' >&2",
                "mvn": "echo '[ERROR] no route to the repository'; exit 1",
            },
            "mvn could not fetch Apache Kafka 4.1.1:\n[ERROR] no route to the repository",
        ),
    ],
    ids=["old java", "strange java", "no repository"],
)
def test_jars_that_cannot_be_had_say_why(tmp_path, monkeypatch, scripts, expected):
    """A failed fetch leaves nothing in the cache that a later start could take for Kafka."""
    monkeypatch.setenv("PATH", tools(tmp_path, **scripts))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(StartupError) as raised:
        LocalBroker().start()
    assert expected in str(raised.value)
    assert list(tmp_path.glob("cache/*/[!k]*")) == []
    assert not list(tmp_path.glob("cache/*/kafka-*.*.?"))


def test_two_at_once_fetch_once_and_say_how_far_they_are(tmp_path):
    """The second waits for the first and finds the jars; progress reaches the caller."""
    path = tools(
        tmp_path,
        java="echo 'openjdk version \"17.0.1\"' >&2",
        mvn="""echo run >> "$0.runs"
for option; do case $option in -DoutputDirectory=*) libs=${option#*=};; esac; done
mkdir -p "$libs"; echo "[INFO] Downloaded from central: x/kafka.jar (1 kB)"
until [ -e "$0.heard" ]; do sleep 0.2; echo "[INFO] on its way"; done; : > "$libs/kafka.jar" """,
    )
    script = f"""
from pathlib import Path
from stream.devtools.downloads import distribution
def say(line):
    print(line)
    if "so far" in line:
        Path({str(tmp_path)!r}, "mvn.heard").touch()
print(len(list(distribution(say).jars.glob("*.jar"))))
"""
    cache = str(tmp_path / "cache")
    with (
        python(script, PATH=path, XDG_CACHE_HOME=cache, JAVA_HOME="") as one,
        python(script, PATH=path, XDG_CACHE_HOME=cache, JAVA_HOME="") as other,
    ):
        said = one.stdout.read() + other.stdout.read()
    assert (tmp_path / "mvn.runs").read_text() == "run\n"
    assert said.splitlines().count("1") == 2
    assert "1 jars so far" in said


@pytest.mark.parametrize(
    ("printed", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("Unable to locate a Java Runtime", None),
    ],
)
def test_java_version_is_understood(printed, major):
    assert java_major(printed) == major
