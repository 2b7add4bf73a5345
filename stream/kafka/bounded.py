"""Calls that a client may never return from, made to end."""

import queue
import threading
from collections.abc import Callable


class Overdue(Exception):  # noqa: N818
    """The call has not returned, and may never: let what it was made on alone from now on."""


def within(wait_s: float, call: Callable[[], object]) -> None:
    """Return when the call has returned, or raise what it raised.

    Raises:
        Overdue: it takes longer than ``wait_s``; its thread is left behind.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def make() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  it is the caller's
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=make, name="bounded-call", daemon=True).start()
    try:
        error = ended.get(timeout=wait_s)
    except queue.Empty:
        raise Overdue from None
    if error is not None:
        raise error
