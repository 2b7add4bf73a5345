"""The sample traffic: repeatable, in the promised shares, and able to be checked."""

from collections import Counter
from functools import cache

import orjson

from stream.devtools.traffic import DUPLICATE_DISTANCE_MAX, Sample, TrafficKind, traffic

EVENTS = 20_000

BAD = (
    TrafficKind.RANDOM_BYTES,
    TrafficKind.PLAIN_JSON,
    TrafficKind.FOREIGN_SCHEMA,
    TrafficKind.SCORE_OUT_OF_RANGE,
    TrafficKind.EMAIL_LIST,
    TrafficKind.CREATED_AT_GARBAGE,
)


@cache
def samples() -> list[Sample]:
    return list(traffic(events=EVENTS, seed=7))


@cache
def counts() -> Counter[TrafficKind]:
    return Counter(sample.kind for sample in samples())


def share(*kinds: TrafficKind) -> float:
    return sum(counts()[kind] for kind in kinds) / EVENTS


def documents(*kinds: TrafficKind) -> list[dict]:
    """All documents of these kinds, or of all but duplicates; not what is only bytes."""
    wanted = kinds or [kind for kind in TrafficKind if kind is not TrafficKind.DUPLICATE]
    values = [sample.value for sample in samples() if sample.kind in wanted]
    return [value for value in values if isinstance(value, dict)]


def test_the_same_seed_gives_the_same_events():
    again = traffic(events=EVENTS, seed=7)
    assert list(again) == samples()


def test_another_seed_gives_other_events():
    other = next(iter(traffic(events=EVENTS, seed=8)))
    assert other != samples()[0]


def test_as_many_events_as_asked_for():
    for events in (0, 1, 60, 1001):
        assert len(list(traffic(events=events, seed=1))) == events


def test_shares_are_those_of_real_sites():
    assert 0.54 < share(TrafficKind.CHANGED, TrafficKind.UNCHANGED) < 0.58
    assert (
        0.45
        < counts()[TrafficKind.UNCHANGED]
        / (counts()[TrafficKind.CHANGED] + counts()[TrafficKind.UNCHANGED])
        < 0.6
    )
    assert 0.28 < share(TrafficKind.PAGE) < 0.32
    assert 0.05 < share(TrafficKind.RESPONSE) < 0.07
    assert 0.015 < share(TrafficKind.DECLINE) < 0.025
    assert 0.025 < share(TrafficKind.OTHER) < 0.035
    assert 0.015 < share(TrafficKind.DUPLICATE) < 0.025
    assert 0.007 < share(*BAD) < 0.013
    assert counts()[TrafficKind.TOMBSTONE] == 2


def test_every_kind_of_bad_event_occurs():
    assert set(BAD) <= set(counts())


def test_documents_are_json():
    for sample in samples():
        if isinstance(sample.value, dict):
            assert orjson.loads(orjson.dumps(sample.value)) == sample.value


def test_an_unchanged_identify_repeats_the_latest_profile_and_a_changed_one_does_not():
    latest: dict[str, dict] = {}
    for sample in samples():
        if sample.kind in {TrafficKind.CHANGED, TrafficKind.UNCHANGED}:
            user, traits = sample.value["userId"], sample.value["traits"]
            assert (latest.get(user) == traits) == (sample.kind is TrafficKind.UNCHANGED)
            latest[user] = traits


def test_a_change_is_one_or_two_traits():
    latest: dict[str, dict] = {}
    for document in documents(TrafficKind.CHANGED):
        user, traits = document["userId"], document["traits"]
        if user in latest:
            different = [name for name in traits if traits[name] != latest[user].get(name)]
            assert len(different) in {1, 2}
        latest[user] = traits


def test_a_duplicate_is_the_very_event_of_a_moment_ago():
    recent: list[Sample] = []
    for sample in samples():
        if sample.kind is TrafficKind.DUPLICATE:
            assert any(sample.value == earlier.value for earlier in recent)
        elif isinstance(sample.value, dict) and "messageId" in sample.value:
            recent = [*recent, sample][-DUPLICATE_DISTANCE_MAX:]


def test_message_ids_are_unique_but_for_duplicates():
    ids = [document["messageId"] for document in documents() if "messageId" in document]
    assert len(ids) == len(set(ids))


def test_a_few_events_have_no_message_id():
    without = [d for d in documents(TrafficKind.PAGE, TrafficKind.CHANGED) if "messageId" not in d]
    assert 0 < len(without) < EVENTS / 100


def test_no_two_surveys_share_a_second():
    """Wootric keeps whole seconds; two surveys of one user must be told apart."""
    surveys = documents(TrafficKind.RESPONSE, TrafficKind.DECLINE, TrafficKind.SCORE_OUT_OF_RANGE)
    seconds = [document["timestamp"][:19] for document in surveys]
    assert len(set(seconds)) == len(seconds)


def test_time_never_goes_back():
    stamps = [document["timestamp"] for document in documents()]
    assert stamps == sorted(stamps)


def test_some_users_are_busy_and_none_is_the_whole_traffic():
    users = Counter(document["userId"] for document in documents(TrafficKind.PAGE))
    busiest = users.most_common(1)[0][1]
    assert 5 * sum(users.values()) / len(users) < busiest * 2
    assert busiest < 0.03 * sum(users.values())


def test_users_can_be_given():
    users = {
        s.value["userId"]
        for s in traffic(events=500, seed=1, users=3)
        if s.kind is TrafficKind.PAGE
    }
    assert users == {"user-000000", "user-000001", "user-000002"}


def test_nobody_has_an_address_outside_the_example_domain():
    for document in documents(TrafficKind.CHANGED):
        assert document["traits"]["email"].endswith("@example.com")
