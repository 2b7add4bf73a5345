"""Prometheus beside the node, configured from the chart's PodMonitor as its operator does it.

Debian builds Prometheus without the discovery of Kubernetes, so the pods are looked up here.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from prometheus import Prometheus
from test_rules import FILES

Document = Mapping[str, Any]


class PodPrometheus(Prometheus):
    """It scrapes the pods that a PodMonitor selects, and has the chart's rules."""

    def __init__(self, folder: Path, monitor: Document, pods: Iterable[Document]) -> None:
        self._scraping = scraping(monitor, pods)
        super().__init__(folder, FILES, {})

    def _configure(self, _: Mapping[str, int]) -> None:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": self._rules,
            "scrape_configs": [self._scraping],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))


def scraping(monitor: Document, pods: Iterable[Document]) -> dict[str, Any]:
    """Return the scrape configuration of a PodMonitor with one endpoint; its interval is left out.

    Namespace, pod and container are labels, and the job is the monitor's name.
    """
    metadata, spec = monitor["metadata"], monitor["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    targets = []
    for pod in pods:
        labels = pod["metadata"]["labels"]
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            continue
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", ()):
                if port.get("name") == endpoint["port"]:
                    address = f"{pod['status']['podIP']}:{port['containerPort']}"
                    known = {
                        "namespace": metadata["namespace"],
                        "pod": pod["metadata"]["name"],
                        "container": container["name"],
                        **{_label(name): labels.get(name, "") for name in spec["podTargetLabels"]},
                    }
                    targets.append({"targets": [address], "labels": known})
    return {
        "job_name": f"{metadata['namespace']}/{metadata['name']}",
        "metrics_path": endpoint["path"],
        "static_configs": targets,
    }


def _label(name: str) -> str:
    """Return a name as Prometheus writes it."""
    return re.sub(r"\W", "_", name)
