"""How much may be released: what is released already takes its part."""

from unittest.mock import Mock

from flow_driver import Driver, identify

from sink.wootric.sink import WootricSink
from stream.engine.limits import ReleaseBudget
from stream.runtime.dispatcher import Dispatcher
from stream.telemetry.observer import Observer


def test_releases_of_an_aborted_transaction_keep_their_part() -> None:
    """They are in the next one: without that, each abort would release as many again."""
    driver = Driver()
    sink = Mock(spec=WootricSink)
    sink.capacity.return_value, sink.requests.return_value = 10, 20.0
    dispatcher = Dispatcher(
        driver.flow,
        sink,
        Mock(spec=Observer),
        look_ahead_s=1.0,
        clock=lambda: driver.now,
        now_ms=lambda: driver.now_ms,
        on_settled=Mock(),
        on_failure=Mock(),
    )
    assert dispatcher.capacity() == ReleaseBudget(limited=10, unlimited=10, requests=20.0)
    for user in ("ann", "bob", "cid"):
        driver.feed(identify(user))
    driver.checkpoint()
    assert dispatcher.capacity() == ReleaseBudget(limited=7, unlimited=7, requests=14.0)
