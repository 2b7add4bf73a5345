"""The same event twice."""

from flow_driver import Driver, identify, names, response

from sink.delivery import Deferred, Rejected


def test_a_message_id_that_was_settled_is_a_duplicate() -> None:
    driver = Driver()
    driver.feed(response(), name="m")
    driver.through()
    driver.feed(response(), name="m")
    assert driver.turn() == []
    assert driver.settled["duplicate", "message_id"] == 1


def test_a_record_that_is_read_again_is_told_apart_from_a_second_one() -> None:
    driver = Driver()
    driver.feed(response("ann"), name="m")
    driver.feed(response("bob"))
    ann, _ = driver.turn()
    driver.settle(ann)
    driver.turn()
    again = driver.after_crash(next_offset=0)
    again.feed(response("ann"), name="m")
    again.turn()
    assert again.settled == {("duplicate", "redelivered"): 1}


def test_a_twin_of_what_is_in_flight_waits_for_it_and_is_a_duplicate() -> None:
    driver = Driver()
    driver.feed(response(), name="m")
    work = driver.one()
    driver.feed(response(), name="m")
    driver.feed(response(), name="m")
    assert driver.turn() == []
    assert driver.offset == 0
    driver.settle(work)
    driver.turn()
    assert driver.settled == {("delivered", ""): 1, ("duplicate", "message_id"): 2}
    assert driver.offset == 3


def test_a_twin_of_what_waits_is_a_duplicate_however_that_one_ends() -> None:
    driver = Driver()
    driver.feed(response(), name="m")
    driver.feed(response(), name="m")
    work = driver.one()
    driver.settle(work, Deferred(reason="throttled", retry_at=driver.now))
    driver.settle(driver.one(), Rejected(reason="invalid", detail=""))
    driver.turn()
    assert driver.settled == {("rejected", "invalid"): 1, ("duplicate", "message_id"): 1}
    assert driver.letters == ["m"]


def test_a_twin_never_merges_into_its_own_request() -> None:
    driver = Driver()
    driver.feed(identify(a=1), name="m")
    driver.feed(identify(a=1), name="m")
    driver.feed(identify(b=1), name="n")
    assert names(driver.one()) == ["m", "n"]


def test_a_duplicate_counts_before_its_receipt_is_committed() -> None:
    driver = Driver()
    driver.feed(response(), name="m")
    driver.settle(driver.one())
    driver.feed(response(), name="m")
    driver.turn()
    assert driver.settled == {("delivered", ""): 1, ("duplicate", "message_id"): 1}


def test_records_that_were_admitted_before_are_ignored() -> None:
    driver = Driver()
    driver.feed(response(), at=5)
    driver.feed(response(), at=5)
    driver.feed(response(), at=4)
    assert driver.flow.unsettled == 1
