"""Realistic Segment traffic from a seed; the same seed gives the same events on every machine."""

import random
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from types import MappingProxyType
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]

BEGIN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
EVENTS_PER_SECOND = 5.0
USERS_MAX = 50_000
DUPLICATE_DISTANCE_MAX = 300
WITHOUT_MESSAGE_ID = 0.004
TOMBSTONES = 2

# Activity falls with a user's rank as 1 / (rank + shift) ** exponent (Zipf and Mandelbrot).
# Without the shift one person of two thousand would make a sixth of all events.
ZIPF_EXPONENT = 1.1
ZIPF_SHIFT = 20


class TrafficKind(StrEnum):
    """The purpose of a sample."""

    CHANGED = "changed profile"
    UNCHANGED = "unchanged profile"
    PAGE = "page"
    RESPONSE = "response"
    DECLINE = "decline"
    OTHER = "not for Wootric"
    DUPLICATE = "duplicate"
    TOMBSTONE = "null value"
    RANDOM_BYTES = "random bytes"
    PLAIN_JSON = "JSON that was cut off"
    FOREIGN_SCHEMA = "unknown fingerprint"
    SCORE_OUT_OF_RANGE = "score of 11"
    EMAIL_LIST = "e-mail that is a list"
    CREATED_AT_GARBAGE = "createdAt that is no date"


@dataclass(frozen=True, slots=True)
class Sample:
    """The value of one record: a Segment document, raw bytes, or null.

    The document is shared with later duplicates and must not be changed.
    """

    kind: TrafficKind
    value: Document | bytes | None


# Per thousand. Of the identifies 60 % repeat a profile, less those of people without one yet,
# which become their first. What is bad is one event in a hundred.
SHARES: Mapping[TrafficKind, float] = MappingProxyType(
    {
        TrafficKind.UNCHANGED: 336,
        TrafficKind.CHANGED: 224,
        TrafficKind.PAGE: 300,
        TrafficKind.RESPONSE: 60,
        TrafficKind.DECLINE: 20,
        TrafficKind.OTHER: 30,
        TrafficKind.DUPLICATE: 20,
        TrafficKind.RANDOM_BYTES: 2,
        TrafficKind.PLAIN_JSON: 1.5,
        TrafficKind.FOREIGN_SCHEMA: 0.5,
        TrafficKind.SCORE_OUT_OF_RANGE: 2,
        TrafficKind.EMAIL_LIST: 2,
        TrafficKind.CREATED_AT_GARBAGE: 2,
    }
)


def traffic(*, events: int, seed: int, users: int | None = None) -> Iterator[Sample]:
    """Yield ``events`` samples of ``users`` people (by default a tenth of the events).

    No two surveys, answered or declined, have the same second, so that each can be
    identified. Memory grows with the users, not with the events.
    """
    count = users or max(1, min(events // 10, USERS_MAX))
    source = Traffic(random.Random(seed), users=count)  # noqa: S311  (no secret)
    kinds, weights = list(SHARES), list(accumulate(SHARES.values()))
    tombstones = set(source.dice.sample(range(events), min(TOMBSTONES, events // 50)))
    for position in range(events):
        if position in tombstones:
            yield Sample(TrafficKind.TOMBSTONE, None)
        else:
            yield source.sample(source.dice.choices(kinds, cum_weights=weights)[0])


class Traffic:
    """Source of events: a clock, users and their latest profiles."""

    def __init__(self, dice: random.Random, *, users: int) -> None:
        self.dice = dice
        self._users = range(users)
        self._activity = list(
            accumulate((rank + ZIPF_SHIFT) ** -ZIPF_EXPONENT for rank in range(1, users + 1))
        )
        self._profiles: dict[int, Document] = {}
        self._now = BEGIN
        self._last_survey = BEGIN
        self._recent: deque[Document] = deque(maxlen=DUPLICATE_DISTANCE_MAX)
        self._foreign_fingerprint = dice.randbytes(8)
        self._makers: dict[TrafficKind, Callable[[int], Document | bytes]] = {
            TrafficKind.CHANGED: self.changed,
            TrafficKind.UNCHANGED: self.unchanged,
            TrafficKind.PAGE: self.page,
            TrafficKind.RESPONSE: self.response,
            TrafficKind.DECLINE: self.decline,
            TrafficKind.OTHER: self.other,
            TrafficKind.RANDOM_BYTES: lambda _: b"\xff" + dice.randbytes(dice.randint(0, 400)),
            TrafficKind.PLAIN_JSON: lambda user: b'{"type":"identify","userId":"%d","tra' % user,
            TrafficKind.FOREIGN_SCHEMA: lambda _: (
                b"\xc3\x01" + self._foreign_fingerprint + b"\x02\x02a"
            ),
            TrafficKind.SCORE_OUT_OF_RANGE: lambda user: self.response(user, score=11),
            TrafficKind.EMAIL_LIST: lambda user: self.identify(user, {"email": [email(user)]}),
            TrafficKind.CREATED_AT_GARBAGE: lambda user: self.identify(
                user, {"email": email(user), "createdAt": "the other day"}
            ),
        }

    def tick(self) -> None:
        """Advance the clock to the next event."""
        self._now += timedelta(seconds=self.dice.expovariate(EVENTS_PER_SECOND))

    def sample(self, kind: TrafficKind) -> Sample:
        """Return the next sample; a duplicate is a page while there is nothing to repeat."""
        self.tick()
        if kind is TrafficKind.DUPLICATE:
            if self._recent:
                return Sample(kind, self.dice.choice(self._recent))
            kind = TrafficKind.PAGE
        user = self.dice.choices(self._users, cum_weights=self._activity)[0]
        if kind is TrafficKind.UNCHANGED and user not in self._profiles:
            kind = TrafficKind.CHANGED
        value = self._makers[kind](user)
        if isinstance(value, dict) and "messageId" in value:
            self._recent.append(value)
        return Sample(kind, value)

    def changed(self, user: int) -> Document:
        """Return an identify with a first profile, or with one or two changed traits."""
        known = self._profiles.get(user)
        if known is None:
            profile = first_profile(user, self.dice, self._now)
        else:
            profile = change(known, self.dice, self._now)
        self._profiles[user] = profile
        return self.identify(user, profile)

    def unchanged(self, user: int) -> Document:
        """Return an identify with the last profile, unchanged."""
        return self.identify(user, self._profiles[user])

    def identify(self, user: int, traits: Document) -> Document:
        """Return an identify with these traits."""
        return self._call("identify", user, traits=traits)

    def page(self, user: int, *, with_email: bool | None = None) -> Document:
        """Return a page view; half of them contain the e-mail, since sites differ."""
        path = self.dice.choice(PATHS)
        properties = {"path": path, "url": f"https://app.example.com{path}", "title": path[1:]}
        document = self._call("page", user, properties=properties, name=path[1:])
        if self.dice.random() < 0.5 if with_email is None else with_email:
            document["context"]["traits"] = {"email": email(user)}
        return document

    def response(self, user: int, *, score: int | None = None) -> Document:
        """Return an answered survey."""
        properties: Document = {"score": self.dice.choice(SCORES) if score is None else score}
        if self.dice.random() < 0.7:
            properties["text"] = self.dice.choice(FEEDBACK)
        return self._survey(user, "create response", properties)

    def decline(self, user: int) -> Document:
        """Return a survey that was shown and declined."""
        return self._survey(user, "create decline", {})

    def other(self, user: int) -> Document:
        """Return a call that is not mapped to Wootric."""
        match self.dice.randrange(4):
            case 0:
                return self._call("track", user, event="Report Exported", properties={"rows": 120})
            case 1:
                return self._call("screen", user, name="Settings", properties={})
            case 2:
                return self._call("group", user, groupId=f"team-{user % 97}", traits={"seats": 12})
            case _:
                return self._call("alias", user, previousId=f"visitor-{user}")

    def _survey(self, user: int, event_type: str, properties: Document) -> Document:
        self._now = max(self._now, self._last_survey + timedelta(seconds=1))
        self._last_survey = self._now.replace(microsecond=0)
        properties["url"] = f"https://app.example.com{self.dice.choice(PATHS)}"
        document = self._call("track", user, event="Survey", properties=properties)
        document["integrations"] = {"All": True, "Wootric": {"eventType": event_type}}
        document["context"]["traits"] = {"email": email(user)}
        return document

    def _call(self, kind: str, user: int, **fields: Any) -> Document:
        """Return a call in Segment's envelope; a few have no messageId."""
        now = iso(self._now)
        document: Document = {
            "type": kind,
            "userId": user_id(user),
            "anonymousId": f"visitor-{user}",
            "timestamp": now,
            "originalTimestamp": now,
            "sentAt": now,
            "receivedAt": iso(self._now + timedelta(milliseconds=180)),
            "context": context(user),
            "integrations": {},
            **fields,
        }
        if self.dice.random() >= WITHOUT_MESSAGE_ID:
            document["messageId"] = str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        return document


# The users of the sample traffic and their profiles.
#
# Domains and addresses are those set aside for examples (RFC 2606, RFC 5737).


FIRST_NAMES = ("Ada", "Björn", "Chloé", "Dmitri", "Emre", "Fatima", "Grace", "Hiroshi", "Inés",
               "Jelena", "Kofi", "Linh", "Maja", "Noor", "Oluwaseun", "Priya")  # fmt: skip
LAST_NAMES = ("Alvarez", "Banerjee", "Čapek", "Dubois", "Eze", "Fischer", "García", "Hansen",
              "Ito", "Jensen", "Kowalski", "Lopes", "Müller")  # fmt: skip
COMPANIES = ("Northwind", "Acme & Sons", "Globex", "Initech", "Umbrella Health", "Soylent")
CITIES = ("Zürich", "São Paulo", "Leeds", "Kraków", "Osaka", "Lagos", "Montréal")
LANGUAGES = ("en", "de", "fr", "pt", "ja", "pl")
PLANS = ("free", "team", "business", "enterprise")
PATHS = ("/home", "/reports", "/reports/monthly", "/settings", "/billing", "/team", "/search?q=a+b")
SCORES = (10, 10, 9, 9, 9, 8, 8, 7, 6, 4, 0)
FEEDBACK = (
    "Does what it says.",
    "The export could be faster.",
    "Très bien, merci !",
    "I would pay for dark mode 🌙",
    "Support answered within the hour, and the answer was right.",
)
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def user_id(user: int) -> str:
    """Return the user's id at the customer."""
    return f"user-{user:06d}"


def email(user: int) -> str:
    """Return the user's unique e-mail."""
    return f"user.{user}@example.com"


def iso(moment: datetime) -> str:
    """Return the time in Segment's format: UTC with milliseconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def context(user: int) -> dict[str, Any]:
    """Return the context that a browser's library adds to each call."""
    return {
        "ip": f"203.0.113.{user % 254 + 1}",
        "library": {"name": "analytics.js", "version": "4.2.1"},
        "locale": "en-US",
        "page": {"path": "/home", "url": "https://app.example.com/home", "title": "Home"},
        "userAgent": USER_AGENT,
    }


def first_profile(user: int, dice: random.Random, now: datetime) -> dict[str, Any]:
    """Return a first profile, with its creation time in one of the usual forms."""
    created = (now - timedelta(seconds=dice.randrange(400 * 86400))).replace(microsecond=0)
    company = dice.choice(COMPANIES)
    creations = ({"createdAt": iso(created)}, {"created_at": iso(created)},
                 {"createdAt": int(created.timestamp())})  # fmt: skip
    return {
        "email": email(user),
        "firstName": dice.choice(FIRST_NAMES),
        "lastName": dice.choice(LAST_NAMES),
        **dice.choices(creations, weights=(8, 1, 1))[0],
        "language": dice.choice(LANGUAGES),
        "company": {"name": company, "employees": dice.randrange(5, 5000)},
        "plan": dice.choice(PLANS),
        "seats": dice.randrange(1, 200),
        "monthlySpend": dice.randrange(0, 90000) / 100,
        "newsletter": dice.random() < 0.4,
        "lastLogin": iso(now),
        "tags": dice.sample(("beta", "pilot", "champion", "at risk"), 2),
        "address": {"city": dice.choice(CITIES), "postalCode": f"{dice.randrange(100000):05d}"},
    }


def change(known: dict[str, Any], dice: random.Random, now: datetime) -> dict[str, Any]:
    """Return the profile with one or two traits changed."""
    changed = {
        "plan": _other(PLANS, known["plan"], dice),
        "language": _other(LANGUAGES, known["language"], dice),
        "seats": known["seats"] + dice.randrange(1, 10),
        "monthlySpend": round(known["monthlySpend"] + 0.25, 2),
        "newsletter": not known["newsletter"],
        "lastLogin": iso(now),
        "address": {**known["address"], "city": _other(CITIES, known["address"]["city"], dice)},
    }
    chosen = dice.sample(list(changed), dice.choice((1, 2)))
    return {**known, **{trait: changed[trait] for trait in chosen}}


def _other(choices: tuple[str, ...], current: str, dice: random.Random) -> str:
    return dice.choice([choice for choice in choices if choice != current])
