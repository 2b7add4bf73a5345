"""The sample traffic: repeatable, in the promised shares, and able to be checked."""

from collections import Counter
from itertools import islice

import orjson

from stream.devtools.traffic import DUPLICATE_DISTANCE_MAX, Kind, Sample, distinct, traffic

EVENTS = 20_000
SAMPLES = list(traffic(events=EVENTS, seed=7))
COUNTS = Counter(sample.kind for sample in SAMPLES)

BAD = (
    Kind.RANDOM_BYTES,
    Kind.PLAIN_JSON,
    Kind.FOREIGN_SCHEMA,
    Kind.SCORE_OUT_OF_RANGE,
    Kind.EMAIL_LIST,
    Kind.CREATED_AT_GARBAGE,
)


def share(*kinds: Kind) -> float:
    return sum(COUNTS[kind] for kind in kinds) / EVENTS


def documents(*kinds: Kind) -> list[dict]:
    """All documents of these kinds, or of all but duplicates; not what is only bytes."""
    wanted = kinds or [kind for kind in Kind if kind is not Kind.DUPLICATE]
    values = [sample.value for sample in SAMPLES if sample.kind in wanted]
    return [value for value in values if isinstance(value, dict)]


def test_the_same_seed_gives_the_same_events():
    again = traffic(events=EVENTS, seed=7)
    assert list(again) == SAMPLES


def test_another_seed_gives_other_events():
    other = next(iter(traffic(events=EVENTS, seed=8)))
    assert other != SAMPLES[0]


def test_as_many_events_as_asked_for():
    for events in (0, 1, 60, 1001):
        assert len(list(traffic(events=events, seed=1))) == events


def test_shares_are_those_of_real_sites():
    assert 0.54 < share(Kind.CHANGED, Kind.UNCHANGED) < 0.58
    assert 0.45 < COUNTS[Kind.UNCHANGED] / (COUNTS[Kind.CHANGED] + COUNTS[Kind.UNCHANGED]) < 0.6
    assert 0.28 < share(Kind.PAGE) < 0.32
    assert 0.05 < share(Kind.RESPONSE) < 0.07
    assert 0.015 < share(Kind.DECLINE) < 0.025
    assert 0.025 < share(Kind.OTHER) < 0.035
    assert 0.015 < share(Kind.DUPLICATE) < 0.025
    assert 0.007 < share(*BAD) < 0.013
    assert COUNTS[Kind.TOMBSTONE] == 2


def test_every_kind_of_bad_event_occurs():
    assert set(BAD) <= set(COUNTS)


def test_documents_are_json():
    for sample in SAMPLES:
        if isinstance(sample.value, dict):
            assert orjson.loads(orjson.dumps(sample.value)) == sample.value


def test_an_unchanged_identify_repeats_the_latest_profile_and_a_changed_one_does_not():
    latest: dict[str, dict] = {}
    for sample in SAMPLES:
        if sample.kind in {Kind.CHANGED, Kind.UNCHANGED}:
            user, traits = sample.value["userId"], sample.value["traits"]
            assert (latest.get(user) == traits) == (sample.kind is Kind.UNCHANGED)
            latest[user] = traits


def test_a_change_is_one_or_two_traits():
    latest: dict[str, dict] = {}
    for document in documents(Kind.CHANGED):
        user, traits = document["userId"], document["traits"]
        if user in latest:
            different = [name for name in traits if traits[name] != latest[user].get(name)]
            assert len(different) in {1, 2}
        latest[user] = traits


def test_a_duplicate_is_the_very_event_of_a_moment_ago():
    recent: list[Sample] = []
    for sample in SAMPLES:
        if sample.kind is Kind.DUPLICATE:
            assert any(sample.value == earlier.value for earlier in recent)
        elif isinstance(sample.value, dict) and "messageId" in sample.value:
            recent = [*recent, sample][-DUPLICATE_DISTANCE_MAX:]


def test_message_ids_are_unique_but_for_duplicates():
    ids = [document["messageId"] for document in documents() if "messageId" in document]
    assert len(ids) == len(set(ids))


def test_a_few_events_have_no_message_id():
    without = [d for d in documents(Kind.PAGE, Kind.CHANGED) if "messageId" not in d]
    assert 0 < len(without) < EVENTS / 100


def test_no_two_surveys_share_a_second():
    """Wootric keeps whole seconds; two surveys of one user must be told apart."""
    surveys = documents(Kind.RESPONSE, Kind.DECLINE, Kind.SCORE_OUT_OF_RANGE)
    seconds = [document["timestamp"][:19] for document in surveys]
    assert len(set(seconds)) == len(seconds)


def test_time_never_goes_back():
    stamps = [document["timestamp"] for document in documents()]
    assert stamps == sorted(stamps)


def test_some_users_are_busy_and_none_is_the_whole_traffic():
    users = Counter(document["userId"] for document in documents(Kind.PAGE))
    busiest = users.most_common(1)[0][1]
    assert 5 * sum(users.values()) / len(users) < busiest * 2
    assert busiest < 0.03 * sum(users.values())


def test_users_can_be_given():
    users = {s.value["userId"] for s in traffic(events=500, seed=1, users=3) if s.kind is Kind.PAGE}
    assert users == {"user-000000", "user-000001", "user-000002"}


def test_nobody_has_an_address_outside_the_example_domain():
    for document in documents(Kind.CHANGED):
        assert document["traits"]["email"].endswith("@example.com")


def test_distinct_events_are_complete_page_views_of_different_users():
    pages = list(islice(distinct(1000, 3), 1000))
    assert len({page["userId"] for page in pages}) == 1000
    assert len({page["context"]["traits"]["email"] for page in pages}) == 1000
    assert {page["type"] for page in pages} == {"page"}
    assert all(page["properties"]["url"].startswith("https://") for page in pages)
