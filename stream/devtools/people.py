"""The people of the sample traffic: who they are and what their profiles say.

Domains and addresses are those set aside for examples (RFC 2606, RFC 5737).
"""

import random
from datetime import datetime, timedelta
from typing import Any

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
    """Return the user's address; never two the same."""
    return f"user.{user}@example.com"


def iso(moment: datetime) -> str:
    """Return the moment as Segment writes it: UTC, milliseconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def context(user: int) -> dict[str, Any]:
    """Return what a browser's library adds to each call."""
    return {
        "ip": f"203.0.113.{user % 254 + 1}",
        "library": {"name": "analytics.js", "version": "4.2.1"},
        "locale": "en-US",
        "page": {"path": "/home", "url": "https://app.example.com/home", "title": "Home"},
        "userAgent": USER_AGENT,
    }


def profile(user: int, dice: random.Random, now: datetime) -> dict[str, Any]:
    """Return a first profile. Its creation is written in one of the ways that occur."""
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
    """Return the profile with one or two traits really different."""
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
