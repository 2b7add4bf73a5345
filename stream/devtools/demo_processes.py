"""The demo's worker: `wootric-stream run`, to be killed and started again."""

import subprocess
import sys
from pathlib import Path

from stream.devtools.guard import GuardedGroup
from stream.kafka.config import KafkaConfig
from stream.settings_loader import variables

KAFKA_ACCESS = frozenset(
    f"KAFKA__{name}{end}"
    for name in ("PROPERTIES", "SASL_USERNAME", "SASL_PASSWORD")
    for end in ("", "_FILE")
)
STOP_S_MAX = 60
LOG_LINES_SHOWN = 15


class Worker:
    """One worker with one identity, however often it is started."""

    def __init__(
        self, config: KafkaConfig, wootric: str, http_port: int, group: GuardedGroup, log: Path
    ) -> None:
        self._command = command(config, wootric, http_port)
        self._group = group
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it."""
        self._process = self._group.start(self._command, log=self._log)

    def kill(self) -> None:
        """Kill it with -9 and wait until it is gone."""
        assert self._process is not None  # noqa: S101
        self._process.kill()
        self._process.wait()

    def stop(self) -> int | None:
        """End it with SIGTERM; return its exit code, None if it did not end in a minute."""
        assert self._process is not None  # noqa: S101
        self._process.terminate()
        try:
            return self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            return None

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES_SHOWN:])


def command(config: KafkaConfig, wootric: str, http_port: int) -> list[str]:
    """Return the worker's command line.

    What the environment says for a real account is taken away: neither its credentials nor
    its choices belong here. Only what lets us into Kafka stays if we use it ourselves: a password
    must not be seen among the processes. The waits are short, so that a lost reply is
    resolved at once.
    """
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "KAFKA__GROUP_ID": config.group_id,
        "KAFKA__INSTANCE_ID": config.instance_id,
        "KAFKA__TOPIC": config.topic,
        "WOOTRIC__ACCOUNT_TOKEN": "NPS-demodemo",
        "WOOTRIC__CLIENT_ID": "demo",
        "WOOTRIC__CLIENT_SECRET": "demo",
        "WOOTRIC__API_URL": wootric,
        "WOOTRIC__PIXEL_URL": f"{wootric}/pixel.gif",
        "WOOTRIC__IN_FLIGHT_MAX": "64",
        "WOOTRIC__REQUEST_TIMEOUT_S": "2",
        "WOOTRIC__QUIET_PERIOD_S": "0.5",
        "WOOTRIC__LEASE_S": "2",
        "HTTP__HOST": "127.0.0.1",
        "HTTP__PORT": str(http_port),
    }
    kept = set(KAFKA_ACCESS) if config.properties else set()
    removed = [part for name in variables() if name not in kept for part in ("-u", name)]
    given = [f"{name}={value}" for name, value in settings.items()]
    return ["env", *removed, *given, sys.executable, "-m", "stream", "run"]
