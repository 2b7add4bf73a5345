"""The event loop's pulse: how much later than planned it turns."""

import asyncio

from prometheus_client import Histogram

EVERY_S = 0.25


class Pulse:
    """Measures until closed."""

    def __init__(self, lag: Histogram) -> None:
        self._lag = lag
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(EVERY_S, self._beat, self._loop.time() + EVERY_S)

    def close(self) -> None:
        """Stop measuring."""
        self._timer.cancel()

    def _beat(self, planned: float) -> None:
        now = self._loop.time()
        self._lag.observe(max(0.0, now - planned))
        self._timer = self._loop.call_later(EVERY_S, self._beat, now + EVERY_S)
