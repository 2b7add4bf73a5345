"""The bridge's health: alive while its loop and its client turn, ready once it has begun."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.telemetry.bridge_metrics import BridgeMetrics
from stream.telemetry.http import Check, HealthServer

POLL_AGE_S_MAX = 60.0


@dataclass(slots=True)
class Standing:
    """What the probes are answered from. An outage of Kafka does not change readiness: the
    bridge says 503 itself, and when to come again. ``polled_at`` is in monotonic seconds.
    """

    polled_at: Callable[[], float]
    started: bool = False
    draining: bool = False

    def live(self) -> Sequence[Check]:
        """Whether it has to be restarted; that anybody answers shows that the loop turns."""
        age = time.monotonic() - self.polled_at()
        return [Check("poll", age < POLL_AGE_S_MAX, f"polled Kafka {age:.1f} s ago")]

    def ready(self) -> Sequence[Check]:
        """Whether it takes events."""
        return [*self.begun(), Check("draining", not self.draining, "not shutting down")]

    def begun(self) -> Sequence[Check]:
        """Whether it has begun."""
        return [Check("started", self.started, "events are taken")]


def health_server(metrics: BridgeMetrics, standing: Standing) -> HealthServer:
    """Return a server of metrics and health that is not started yet."""
    checks = {"/livez": standing.live, "/readyz": standing.ready, "/startupz": standing.begun}
    return HealthServer(metrics.registry, checks)
