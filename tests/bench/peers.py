"""What one would take instead, as its users set it up: from Kafka to HTTP, at least once, ordered.

It has less to do than the service: its records are the very form that it posts; nothing is
decoded, mapped or remembered.
"""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
from rich.console import Console
from rich.table import Table
from stack import Stack

from stream.devtools.downloads import alone, cache, find_java, run_maven
from tests.bench.ground import Ground, cpu_s, peak_mb, say
from tests.bench.native import Native
from tests.bench.speed import median
from tests.bench.traces import PARTITIONS, SEED, Encoded, distinct, publish

CAMEL_VERSION = "4.14.1"
ARTIFACTS = ("camel-main", "camel-kafka", "camel-http", "camel-yaml-dsl")
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>wootric-stream</groupId>
  <artifactId>camel</artifactId>
  <version>{CAMEL_VERSION}</version>
  <packaging>pom</packaging>
  <dependencies>
    {
    "".join(
        f"<dependency><groupId>org.apache.camel</groupId><artifactId>{name}</artifactId>"
        f"<version>{CAMEL_VERSION}</version></dependency>"
        for name in ARTIFACTS
    )
}
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.17</version>
    </dependency>
  </dependencies>
</project>
"""
ROUTE = """\
- route:
    from:
      uri: kafka:{topic}
      parameters:
        brokers: {servers}
        groupId: peer
        autoOffsetReset: earliest
        consumersCount: {partitions}
        breakOnFirstError: true
      steps:
        - removeHeaders: {{pattern: "*"}}
        - setHeader: {{name: CamelHttpMethod, constant: POST}}
        - setHeader: {{name: Content-Type, constant: application/x-www-form-urlencoded}}
        - to: {{uri: "{url}"}}
"""
EVENTS = {0: 60_000, 20: 4_000}
RUN_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool; ``command`` gives what to run for a topic, in a folder of its own."""

    name: str
    command: Callable[[Stack, Native, Path], Sequence[str]]


def camel(stack: Stack, server: Native, folder: Path) -> Sequence[str]:
    """Apache Camel from Maven Central, one consumer a partition."""
    jars = cache() / f"camel-{CAMEL_VERSION}"
    if not jars.is_dir():
        jars.parent.mkdir(parents=True, exist_ok=True)
        with alone(jars.with_name(f"{jars.name}.lock")):
            if not jars.is_dir():
                _fetch(jars)
    route = folder / "route.yaml"
    route.write_text(
        ROUTE.format(
            topic=stack.config.topic,
            servers=stack.bootstrap_servers,
            partitions=PARTITIONS,
            url=server.pixel_url,
        )
    )
    options = (f"-Dcamel.main.routesIncludePattern=file:{route}", "-Xmx512m")
    return [str(find_java()), *options, "-cp", f"{jars}/*", "org.apache.camel.main.Main"]


def _fetch(jars: Path) -> None:
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as folder:
        pom, libs = Path(folder, "pom.xml"), Path(folder, "libs")
        pom.write_text(POM)
        arguments = ["--file", str(pom), "dependency:copy-dependencies"]
        arguments += ["-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
        run_maven(arguments, what=f"Apache Camel {CAMEL_VERSION}", say=say)
        libs.rename(jars)


PEERS = (Peer(f"Apache Camel {CAMEL_VERSION}", camel),)


def forms(events: int) -> Iterator[Encoded]:
    """The trace ``distinct``, as the forms to be posted."""
    for document in distinct(events, SEED):
        email, url = document["context"]["traits"]["email"], document["properties"]["url"]
        value = urlencode({"account_token": "NPS-0a1b2c3d", "email": email, "url": url})
        yield Encoded(document["userId"].encode(), value.encode())


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[psutil.Process]:
    with log.open("ab") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


async def measure(ground: Ground, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each peer and reply time."""
    rows = []
    for peer in PEERS:
        for reply_ms, events in EVENTS.items():
            say(f"{peer.name}, {reply_ms} ms")
            runs = [await _run(ground, peer, reply_ms, events) for _ in range(rounds)]
            say(f"  {median([run['events_per_s'] for run in runs]):,.0f} events/s")
            figures = {name: median([run[name] for run in runs]) for name in runs[0]}
            rows.append({"subject": peer.name, "reply_ms": reply_ms, **figures})
    return rows


async def _run(ground: Ground, peer: Peer, reply_ms: int, events: int) -> dict[str, float]:
    with ground.laid(delay_ms=reply_ms) as (stack, server):
        records = tuple(forms(events))
        await asyncio.to_thread(publish, stack.bootstrap_servers, stack.config.topic, records)
        command = peer.command(stack, server, ground.folder)
        with _running(command, ground.folder / "peer.log") as process:
            return await _follow(process, server, events, ground.folder / "peer.log")


async def _follow(
    process: psutil.Process, server: Native, events: int, log: Path
) -> dict[str, float]:
    began: tuple[float, int, float] | None = None
    deadline = time.monotonic() + RUN_S_MAX
    while True:
        counts = await asyncio.to_thread(server.counts)
        now, used, done = time.monotonic(), cpu_s([process]), counts["requests"]
        if began is None and done:
            began = (now, done, used)
        if began is not None and done >= events:
            break
        if now > deadline:
            raise RuntimeError(f"{done} of {events}:\n{log.read_text()[-2000:]}")
        await asyncio.sleep(0.03)
    return {
        "events_per_s": (done - began[1]) / (now - began[0]),
        "cpu_us": (used - began[2]) / (done - began[1]) * 1e6,
        "peak_mb": peak_mb(process),
        "order_violations": counts["order_violations"],
        "duplicates": counts["duplicates"],
    }


def show(rows: Sequence[dict[str, Any]], out: Console) -> None:
    table = Table(title="what one would take instead: every event posted, at least once")
    for name in ("", "reply", "events/s", "µs/event", "peak MB", "disorder", "twice"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(
            row["subject"],
            f"{row['reply_ms']} ms",
            f"{row['events_per_s']:,.0f}",
            f"{row['cpu_us']:.0f}",
            f"{row['peak_mb']:.0f}",
            f"{row['order_violations']:.0f}",
            f"{row['duplicates']:.0f}",
        )
    out.print(table)
