"""Sends committed requests to the sink and returns their outcomes to the engine."""

import asyncio
from collections.abc import Callable

from sink.wootric.delivery import InDoubt
from sink.wootric.sink import WootricSink
from stream.engine.lanes import PendingRequest
from stream.engine.scheduler import ReleaseBudget
from stream.engine.task_manager import TaskManager
from stream.telemetry.observer import Observer


class Dispatcher:
    """Runs one task per request, at most ``in_flight_max`` concurrently; calls ``on_settled`` after
    each.
    """

    def __init__(
        self,
        task_manager: TaskManager,
        sink: WootricSink,
        observer: Observer,
        *,
        in_flight_max: int,
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
        self._in_flight_max = in_flight_max
        self._look_ahead_s = look_ahead_s
        self._clock = clock
        self._now_ms = now_ms
        self._on_settled = on_settled
        self._on_failure = on_failure
        self._semaphore = asyncio.Semaphore(in_flight_max)
        self._tasks: set[asyncio.Task[None]] = set()
        self._queued = 0
        self._queued_requests = 0

    def send(self, request: PendingRequest) -> None:
        """Deliver a request as soon as a permit is free."""
        self._queued += 1
        self._queued_requests += request.api_requests
        task = asyncio.create_task(self._run_guarded(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def capacity(self) -> ReleaseBudget:
        """Return how much may be released.

        At most as many again as are in flight are queued, so that requests need not wait for the
        transaction that releases them. Under a rate limit, only requests that may begin soon are
        released: requests that are not released can still merge.
        """
        now = self._clock()
        free = self._in_flight_max * 2 - self._task_manager.under_way
        return ReleaseBudget(
            api=min(free, self._sink.capacity(now) - self._queued),
            pages=min(free, self._sink.capacity(now, page=True) - self._queued),
            requests=self._sink.requests(now, within_s=self._look_ahead_s) - self._queued_requests,
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
        partition_task = self._task_manager.partitions.get(request.lane.partition)
        if partition_task is None:
            self._dequeue(request)
            return
        delivery = partition_task.delivery(
            request, lambda: self._task_manager.may_send(request, self._clock())
        )
        async with self._semaphore:
            self._dequeue(request)
            with self._observer.delivering(request):
                outcome = await self._sink.deliver(delivery)
                self._observer.delivered(request, outcome, self._now_ms())
        if isinstance(outcome, InDoubt):
            self._observer.on_in_doubt(request)
        self._task_manager.settle(request, outcome, self._clock(), self._now_ms())
        self._on_settled()

    def _dequeue(self, request: PendingRequest) -> None:
        self._queued -= 1
        self._queued_requests -= request.api_requests
