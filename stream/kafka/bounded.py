"""Calls that a client may never return from, made to end."""

import queue
import threading
from collections.abc import Callable
from typing import TypeAlias

Calls: TypeAlias = "queue.SimpleQueue[Callable[[], object]]"
Answers: TypeAlias = "queue.SimpleQueue[BaseException | None]"


class Overdue(Exception):  # noqa: N818
    """The call has not returned, and may never: let what it was made on alone from now on."""


class Bounded:
    """Makes calls on a thread of its own, one at a time, for no longer than they may take.

    The thread lasts from call to call; one that does not come back is left behind.
    """

    def __init__(self) -> None:
        self._calls: Calls | None = None
        self._answers: Answers = queue.SimpleQueue()

    def call(self, wait_s: float, call: Callable[[], object]) -> None:
        """Return when the call has returned, or raise what it raised.

        Raises:
            Overdue: it takes longer than ``wait_s``.
        """
        if self._calls is None:
            self._calls, self._answers = queue.SimpleQueue(), queue.SimpleQueue()
            queues = (self._calls, self._answers)
            threading.Thread(target=_make, args=queues, name="bounded-calls", daemon=True).start()
        self._calls.put(call)
        try:
            error = self._answers.get(timeout=wait_s)
        except queue.Empty:
            self._calls = None
            raise Overdue from None
        if error is not None:
            raise error


def _make(calls: Calls, answers: Answers) -> None:
    while True:
        try:
            calls.get()()
        except BaseException as error:  # noqa: BLE001  it is the caller's
            answers.put(error)
        else:
            answers.put(None)
