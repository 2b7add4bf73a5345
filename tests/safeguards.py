"""The safeguards of the guarantee, what comes of leaving one out, and the tests that show it.

`make docs` makes the table of docs/explanation/safeguards.md of this. Each is taken
away by a patch in a test, never by a setting.
"""

from dataclasses import dataclass

SIMULATION = "test_the_simulation_finds_what_a_missing_safeguard_does"
KAFKA = "test_without_a_safeguard_a_rare_moment_does_harm"
BOTH = (SIMULATION, KAFKA)


@dataclass(frozen=True, slots=True)
class Safeguard:
    """A row of that table."""

    name: str
    without: str
    tests: tuple[str, ...] = (SIMULATION,)


SAFEGUARDS = (
    Safeguard("intent", "what a dead worker had under way is sent again"),
    Safeguard("commit before sending", "a worker dies, and nobody knows what it has sent"),
    Safeguard(
        "fence",
        "a worker that lost a partition commits offsets and intents over its successor's, and "
        "what that one has delivered is delivered again",
        BOTH,
    ),
    Safeguard("lease", "a worker that slept sends what its successor sends too"),
    Safeguard("quiet period", "a look comes before the late effect, and it is sent again"),
    Safeguard(
        "barrier",
        "a fold that ends before an open transaction lacks intents and receipts: sent again",
        BOTH,
    ),
    Safeguard("re-emission after an abort", "outcomes are lost, and their events passed over"),
    Safeguard("frozen request", "an event joins a request that has left, and is never sent"),
    Safeguard("dedupe", "a repeated record has a second effect, or a second dead letter"),
    Safeguard("look before sending again", "an effect whose reply was lost is there twice"),
    Safeguard("claimed ids", "the effect of a response just like it is taken for its own"),
    Safeguard("remembered doubt", "a profile counts as sent though nobody knows; a change is lost"),
    Safeguard("a lost reply is a doubt", "it is retried, and the effect is there twice"),
    Safeguard("circuit", "what Wootric forbids for a while becomes dead letters"),
    Safeguard("one under way a lane", "a lane that grows releases its head a second time"),
    Safeguard("merging up to a barrier only", "an identify passes a response or a delete"),
    Safeguard(
        "ownership of what is under way",
        "what was released before a partition went counts after it came back: sent twice",
    ),
    Safeguard("opening number", "a late commit of an earlier ownership is counted for the next"),
    Safeguard(
        "commits of the current assignment only",
        "a checkpoint from before a partition went is committed after it came back, over what "
        "others did meanwhile: sent again",
        (KAFKA,),
    ),
    Safeguard(
        "an unanswered end is no end",
        "-1001 is taken for the ledger's end, and the fold is empty: sent again",
        (KAFKA,),
    ),
    Safeguard(
        "read back of an unknown commit", "a commit that never was is believed: loss", (KAFKA,)
    ),
    Safeguard(
        "no transparent retry", "aiohttp repeats a reset GET, and a view counts twice", (KAFKA,)
    ),
)


def shown_by(test: str) -> set[str]:
    """Return the names of the safeguards that a test takes away."""
    return {one.name for one in SAFEGUARDS if test in one.tests}
