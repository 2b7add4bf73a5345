"""Apache Kafka's jars, downloaded once by Maven and kept in the user's cache folder."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stream.devtools import Say
from stream.errors import StartupError

KAFKA_VERSION = "4.1.1"
JAVA_VERSION_MIN = 17  # Source: Apache Kafka 4.0, upgrade notes: brokers need Java 17.
FETCH_S_MAX = 900  # for 43 MB; a slower connection is considered lost
ERROR_LINES_MAX = 12

# slf4j-simple (in the version of Kafka's slf4j API) writes to stderr: the node's log.
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>wootric-stream</groupId>
  <artifactId>kafka</artifactId>
  <version>{KAFKA_VERSION}</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A runnable Kafka: the Java program and a folder of jars."""

    java: Path
    jars: Path

    @property
    def archive(self) -> Path:
        """The class data archive (CDS) for quicker starts; empty if Java could not write it."""
        return self.jars.with_name(f"{self.jars.name}.jsa")

    def command(self, main: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return the command line that runs the class ``main``."""
        if self.archive.exists() and self.archive.stat().st_size:
            options = (*options, f"-XX:SharedArchiveFile={self.archive}")
        return [str(self.java), *options, "-cp", f"{self.jars}/*", main, *arguments]


def distribution(say: Say) -> Distribution:
    """Return a runnable Kafka; the first call downloads its jars.

    Raises:
        StartupError: there is no Java 17, no Maven, or Maven could not fetch the jars.
    """
    java = find_java()
    jars = cache() / f"kafka-{KAFKA_VERSION}"
    if not jars.is_dir():
        jars.parent.mkdir(parents=True, exist_ok=True)
        with alone(jars.with_name(f"{jars.name}.lock")):
            if not jars.is_dir():
                _fetch(jars, say)
    return Distribution(java=java, jars=jars)


def java_major(version_output: str) -> int | None:
    """Return the major version in the output of ``java -version`` (8 for 1.8), or None."""
    found = re.search(r'version "(?:1\.)?(\d+)', version_output)
    return int(found[1]) if found else None


def find_java() -> Path:
    """Return the Java program.

    Raises:
        StartupError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    name = shutil.which("java", path=f"{home}/bin") if home else None
    name = name or shutil.which("java")
    if name is None:
        raise StartupError(f"java is not installed; install Java {JAVA_VERSION_MIN}", exit_code=69)
    answer = subprocess.run(  # noqa: S603  (found on the user's own PATH)
        [name, "-version"], capture_output=True, text=True, check=False
    )
    major = java_major(answer.stderr + answer.stdout)
    if major is None or major < JAVA_VERSION_MIN:
        found = "of an unknown version" if major is None else f"Java {major}"
        raise StartupError(f"java is {found}; Kafka needs {JAVA_VERSION_MIN}", exit_code=69)
    return Path(name)


def cache() -> Path:
    """Return the folder of downloads in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wootric-stream"


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold the lock file exclusively: a second process waits and then finds the jars."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(jars: Path, say: Say) -> None:
    """Download to a folder next to ``jars`` and rename it, so that all jars are present or none."""
    say(f"fetching Apache Kafka {KAFKA_VERSION} (43 MB, once)")
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetch-") as folder:
        pom = Path(folder, "pom.xml")
        pom.write_text(POM)
        libs = Path(folder, "libs")
        run_maven(
            [
                *("--file", str(pom), "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={libs}"),
            ],
            what=f"Apache Kafka {KAFKA_VERSION}",
            say=say,
        )
        say(f"fetched Apache Kafka {KAFKA_VERSION}: {len(list(libs.glob('*.jar')))} jars")
        libs.rename(jars)


def run_maven(arguments: list[str], *, what: str, say: Say) -> None:
    """Run Maven to download something, and print the progress.

    Raises:
        StartupError: there is no Maven, or it failed.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise StartupError(f"mvn is needed to download {what}; install Maven", exit_code=69)
    command = [maven, "--batch-mode", "--strict-checksums", *arguments]
    with subprocess.Popen(  # noqa: S603  (found on the user's own PATH)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as process:  # fmt: skip
        limit = threading.Timer(FETCH_S_MAX, process.kill)
        limit.start()
        try:
            assert process.stdout is not None  # noqa: S101  (for the type checker: a pipe)
            errors = _follow(process.stdout, what, say)
        except BaseException:
            process.kill()
            raise
        finally:
            limit.cancel()
    if process.returncode != 0:
        detail = "\n".join(errors[:ERROR_LINES_MAX]) or f"status {process.returncode}"
        raise StartupError(f"mvn could not fetch {what}:\n{detail}", exit_code=69)


def _follow(output: IO[str], what: str, say: Say) -> list[str]:
    """Print the progress about once per second; return the error lines."""
    errors: list[str] = []
    arrived, began_at = 0, time.monotonic()
    said_at = began_at
    for line in output:
        if "[ERROR]" in line:
            errors.append(line.rstrip())
        if re.search(r"Downloaded from .*\.jar\b", line):
            arrived += 1
        if time.monotonic() - said_at > 1:
            said_at = time.monotonic()
            far = f"{arrived} jars" if arrived else f"{said_at - began_at:.0f} s"
            say(f"fetching {what}: {far} so far")
    return errors
