"""Sends committed requests to the sink and returns their outcomes to the engine."""

import asyncio
from collections.abc import Callable

from sink.delivery import InDoubt, Sink
from stream.engine.lanes import PendingRequest
from stream.engine.limits import ReleaseBudget
from stream.engine.task_manager import TaskManager
from stream.telemetry.observer import Observer


class Dispatcher:
    """Runs one task per request; calls ``on_settled`` after each."""

    def __init__(
        self,
        task_manager: TaskManager,
        sink: Sink,
        observer: Observer,
        *,
        look_ahead_s: float,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        on_settled: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """``look_ahead_s``: release only requests that may begin within this time.

        ``on_failure`` receives an unexpected exception of a delivery: its request would never
        finish.
        """
        self._task_manager = task_manager
        self._sink = sink
        self._observer = observer
        self._look_ahead_s = look_ahead_s
        self._clock = clock
        self._now_ms = now_ms
        self._on_settled = on_settled
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self._queued = 0
        self._queued_requests = 0

    def send(self, request: PendingRequest) -> None:
        """Hand a request to the sink."""
        self._queued += 1
        self._queued_requests += request.api_requests
        task = asyncio.create_task(self._run_guarded(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def capacity(self) -> ReleaseBudget:
        """Return how much may be released.

        Under a rate limit, only requests that may begin soon are released: requests that are not
        released can still merge.
        """
        now = self._clock()
        pending = self._task_manager.pending_releases  # of an aborted transaction
        waiting = self._queued + len(pending)
        return ReleaseBudget(
            limited=self._sink.capacity(now) - waiting,
            unlimited=self._sink.capacity(now, unlimited=True) - waiting,
            requests=self._sink.requests(now, within_s=self._look_ahead_s)
            - self._queued_requests
            - sum(request.api_requests for request in pending),
        )

    async def stop(self) -> None:
        """Cancel all deliveries; the ledger records that they may have been sent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run_guarded(self, request: PendingRequest) -> None:
        try:
            await self._deliver(request)
        except Exception as error:  # noqa: BLE001  nobody awaits the task
            self._on_failure(error)

    async def _deliver(self, request: PendingRequest) -> None:
        self._queued -= 1
        self._queued_requests -= request.api_requests
        partition_task = self._task_manager.partitions.get(request.lane.partition)
        if partition_task is None:
            return
        delivery = partition_task.delivery(
            request, lambda: self._task_manager.may_send(request, self._clock())
        )
        with self._observer.delivering(request):
            outcome = await self._sink.deliver(delivery)
            self._observer.delivered(request, outcome, self._now_ms())
        if isinstance(outcome, InDoubt):
            self._observer.on_in_doubt(request)
        self._task_manager.settle(request, outcome, self._clock(), self._now_ms())
        self._on_settled()
