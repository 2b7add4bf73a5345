"""Segment calls as hypothesis makes them, the awkward ones on purpose."""

from hypothesis import strategies as st

texts = st.text(st.characters(), max_size=12)  # halves of surrogate pairs among them
numbers = (
    st.integers(min_value=-(10**30), max_value=10**30)
    | st.floats()
    | st.sampled_from([2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**400, 1e308])
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
names = st.sampled_from(
    [
        "messageId",
        "type",
        "userId",
        "anonymousId",
        "event",
        "name",
        "timestamp",
        "originalTimestamp",
        "sentAt",
        "receivedAt",
        "traits",
        "properties",
        "context",
        "integrations",
        "extra",
        "version",
        "channel",
        "writeKey",
        "previousId",
    ]
)
times = st.datetimes().map(lambda time: time.isoformat() + "Z")
documents = st.dictionaries(names | texts, values | times, max_size=12)
