"""A real Prometheus for a test: it scrapes what it is told and answers queries."""

import json
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import yaml
from chart_tools import path
from stack import free_port
from waiting import STILL_S, until_now

Moments = Callable[[], list[str]]


class Prometheus:
    """Prometheus as a child process; every second it scrapes and evaluates the rules.

    ``targets`` are ports by instance; the labels are those that Kubernetes' discovery gives.
    """

    def __init__(self, folder: Path, rules: Sequence[Path], targets: Mapping[str, int]) -> None:
        self.port = free_port()
        self._folder = folder
        self._log = folder / "prometheus.log"
        self._rules = [str(path) for path in rules]
        self._configure(targets)

    def _configure(self, targets: Mapping[str, int]) -> None:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": self._rules,
            "scrape_configs": [
                {
                    "job_name": "surveys/wootric",
                    "relabel_configs": [
                        {"source_labels": ["pod"], "target_label": "instance"},
                    ],
                    "static_configs": [
                        {
                            "targets": [f"127.0.0.1:{port}"],
                            "labels": {"namespace": "surveys", "pod": name},
                        }
                        for name, port in targets.items()
                    ],
                }
            ],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        command = (
            path("prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until_now(self._ready, "Prometheus is ready", lambda: self._log.stat().st_size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def retarget(self, targets: Mapping[str, int]) -> None:
        """Scrape these from now on, as when a pod has been replaced."""
        self._configure(targets)
        self._process.send_signal(signal.SIGHUP)

    def until_scraping(self) -> None:
        """Return once every target has been scraped: Prometheus finds them after 5 s."""

        def health() -> list[str]:
            return [one["health"] for one in self.targets()]

        until_now(lambda: set(health()) == {"up"}, "every target is scraped", health)

    def until_seen(self) -> None:
        """Return once all that is there now has been scraped twice, and the rules know of it."""

        def scraped() -> list[str]:
            return [one["lastScrape"] for one in self.targets()]

        def evaluated() -> list[str]:
            return [one["lastEvaluation"] for one in self.rules()]

        for moments in (scraped, scraped, evaluated):
            now = datetime.now(UTC)

            def later(moments: Moments = moments, now: datetime = now) -> bool:
                return all(datetime.fromisoformat(one) > now for one in moments())

            until_now(later, f"all is {moments.__name__}", moments)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query."""
        return self._get("query", query=expression)["result"]

    def query_range(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """Return the series of a query between two moments, a point a second."""
        span = {"start": str(start), "end": str(end), "step": "1"}
        return self._get("query_range", query=expression, **span)["result"]

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        return self._get("targets")["activeTargets"]

    def _get(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{query}"
        with urllib.request.urlopen(url, timeout=STILL_S) as reply:
            return json.load(reply)["data"]

    def _ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        try:
            url = f"http://127.0.0.1:{self.port}/-/ready"
            return urllib.request.urlopen(url, timeout=STILL_S).status == 200
        except OSError:
            return False
