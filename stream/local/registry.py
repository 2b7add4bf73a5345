"""Apicurio Registry on this machine: a schema registry with Confluent's API, for the tests.

Its distribution is fetched once by Maven and kept beside Kafka's jars.
"""

import subprocess
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from stream.errors import StartupError
from stream.local import Say, silent
from stream.local.guard import Child, GuardedGroup
from stream.local.jars import alone, cache, find_java, run_maven
from stream.local.node import HOST, QUICK_START, free_ports

VERSION = "2.6.13.Final"
START_S_MAX = 300
POLL_S = 0.1
LOG_LINES_SHOWN = 25
API = "/apis/ccompat/v7"


class LocalRegistry(Child):
    """Apicurio Registry as a child process; what is registered is gone when it ends.

    It ends with this process, even if that is killed.
    """

    def __init__(self, *, say: Say = silent) -> None:
        self._say = say
        self._port = free_ports(1)[0]
        self._log = Path()
        self._group: GuardedGroup | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://{HOST}:{self._port}{API}"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None  # noqa: S101  (started)
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            StartupError: no Java, no distribution, or it did not come up.
        """
        java, folder = find_java(), _distribution(self._say)
        began = time.monotonic()
        home = Path(tempfile.mkdtemp(prefix="wootric-registry-"))
        self._log = home / "registry.log"
        self._group = GuardedGroup(remove=(home,))
        options = ("-Xmx256m", *QUICK_START)
        listens = (f"-Dquarkus.http.host={HOST}", f"-Dquarkus.http.port={self._port}")
        jar = folder / f"apicurio-registry-app-{VERSION}-runner.jar"
        self._process = self._group.start(
            [str(java), *options, *listens, "-jar", str(jar)], log=self._log
        )
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() - began > START_S_MAX:
                raise StartupError(f"the registry did not come up:\n{self._tail()}", exit_code=69)
            time.sleep(POLL_S)
        self._say(f"the registry is up at {self.url} ({time.monotonic() - began:.1f} s)")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._group is not None:
            self._group.close()
            self._group = None

    def _ready(self) -> bool:
        with suppress(OSError), urlopen(f"{self.url}/subjects", timeout=2) as reply:  # noqa: S310  (our own address)
            return bool(reply.status == 200)
        return False

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])


def _distribution(say: Say) -> Path:
    """Return the unpacked distribution; there is all of it or nothing."""
    folder = cache() / f"apicurio-registry-{VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _fetch(folder, say)
    return folder


def _fetch(folder: Path, say: Say) -> None:
    what = f"Apicurio Registry {VERSION}"
    say(f"fetching {what} (142 MB, once)")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as temporary:
        artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
        run_maven(
            ["dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={temporary}"],
            what=what,
            say=say,
        )
        packed, unpacked = next(Path(temporary).glob("*.tar.gz")), Path(temporary, "app")
        with tarfile.open(packed) as archive:
            archive.extractall(unpacked, filter="data")
        say(f"fetched {what}")
        unpacked.rename(folder)
