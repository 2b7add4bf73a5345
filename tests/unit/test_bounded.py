"""Calls that may never return."""

import threading

import pytest
from waiting import STILL_S

from stream.kafka.transactions import CallTimeoutError, TimeLimitedCaller


def test_a_call_that_returns_in_time_is_made_on_one_thread() -> None:
    caller, threads = TimeLimitedCaller(), []
    for _ in range(3):
        caller.call_with_timeout(STILL_S, lambda: threads.append(threading.current_thread()))
    assert len(threads) == 3
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


def test_what_a_call_raises_is_the_callers() -> None:
    caller = TimeLimitedCaller()
    with pytest.raises(ZeroDivisionError):
        caller.call_with_timeout(STILL_S, lambda: 1 / 0)
    caller.call_with_timeout(STILL_S, lambda: None)


def test_a_call_that_hangs_is_left_behind_with_what_it_says_later() -> None:
    """Its late error is nobody's: it must not be taken for the answer to the next call."""
    caller, let_go, gone = TimeLimitedCaller(), threading.Event(), threading.Event()

    def hang() -> None:
        let_go.wait()
        gone.set()
        raise ValueError("late")

    with pytest.raises(CallTimeoutError):
        caller.call_with_timeout(0.05, hang)
    let_go.set()
    assert gone.wait(STILL_S)
    caller.call_with_timeout(STILL_S, lambda: None)
