"""The circuit, on a clock of the test's own."""

from sink.rate_limit import CircuitBreaker


def circuit() -> CircuitBreaker:
    return CircuitBreaker(probe_interval_s=15, failures_max=3)


def test_what_is_forbidden_opens_it_at_once() -> None:
    one = circuit()
    assert one.open("forbidden", now=100.0)
    assert one.is_open
    assert (one.reason, one.probe_at) == ("forbidden", 115.0)
    assert not one.open("forbidden", now=101.0), "it was open already"


def test_silence_opens_it_after_a_row_of_failures() -> None:
    one = circuit()
    assert [one.record_failure(now=0.0) for _ in range(3)] == [False, False, True]
    assert one.reason == "unreachable"


def test_an_answer_breaks_the_row() -> None:
    one = circuit()
    one.record_failure(now=0.0)
    one.record_failure(now=0.0)
    one.record_success()
    assert not one.record_failure(now=0.0)
    assert not one.is_open


def test_an_answer_does_not_close_it() -> None:
    """A reply that was under way when it opened proves nothing."""
    one = circuit()
    one.open("forbidden", now=0.0)
    one.record_success()
    assert one.is_open


def test_silence_is_probed_soon_and_then_less_often() -> None:
    one = circuit()
    for _ in range(3):
        one.record_failure(now=0.0)
    waits = []
    for _ in range(7):
        waits.append(one.probe_at)
        one.probe_failed(now=0.0)
    assert waits == [0.5, 1, 2, 4, 8, 15, 15]


def test_what_is_forbidden_is_probed_at_the_interval() -> None:
    one = circuit()
    one.open("credentials", now=0.0)
    one.probe_failed(now=15.0)
    assert one.probe_at == 30.0


def test_a_good_probe_closes_it_with_a_clean_slate() -> None:
    one = circuit()
    one.open("forbidden", now=0.0)
    assert one.close()
    assert not one.close()
    assert not one.record_failure(now=1.0)
    assert not one.is_open
