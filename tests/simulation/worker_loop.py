"""An asyncio event loop on simulated time: what runs on it dies and sleeps with its worker."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from event_queue import Agenda
from world import Later

T = TypeVar("T")


class WorkerLoop(asyncio.AbstractEventLoop):
    """Runs callbacks as steps of the simulation; no socket, no thread, no real clock.

    ``later`` is the worker's own time, so that nothing runs once it is dead.
    """

    def __init__(self, agenda: Agenda, later: Later) -> None:
        self._agenda = agenda
        self._later = later
        self._ready: deque[asyncio.Handle] = deque()
        self._due = False
        self.errors: list[BaseException] = []
        """What no task and no callback has caught."""

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function as if from within this loop."""
        asyncio._set_running_loop(self)
        try:
            return function()
        finally:
            asyncio._set_running_loop(None)

    def run_ready(self) -> None:
        """Run what is ready now, as one turn of a loop does."""
        self._due = False
        ready, self._ready = self._ready, deque()

        def turn() -> None:
            for handle in ready:
                if not handle.cancelled():
                    handle._run()

        self.inside(turn)

    def finish(self, task: "asyncio.Task[Any]") -> None:
        """Cancel a task and run until nothing is ready, after the end of the simulation."""
        self._later = lambda *_: None
        task.cancel()
        while self._ready:
            self.run_ready()

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._agenda.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        if not self._due:
            self._due = True
            self._later(0.0, self.run_ready)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)

        def due() -> None:
            if not handle.cancelled():
                self.inside(handle._run)

        self._later(max(0.0, delay), due)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep an error; that a dead worker's task never ended is none."""
        error = context.get("exception")
        if error is not None:
            self.errors.append(error)
