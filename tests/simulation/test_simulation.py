"""Thousands of seeded schedules, and the proof that these would tell.

`make simulate` runs as many as one likes; a schedule that fails says how to see it again.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from disabled_safeguards import MUTANTS
from interleavings import KINDS, first_failure, run, silent
from safeguards import SIMULATION, shown_by
from world import Settings

FAST = os.environ.get("WOOTRIC_TESTS") == "fast"
SCHEDULES = (
    {"core": 200, "webhook": 20, "service": 20}
    if FAST
    else {"core": 2_000, "webhook": 200, "service": 200}
)
SCHEDULES_OF_ALL = {"core": 20_000, "webhook": 2_000, "service": 2_000}
"""How many each command runs: `make test-fast`, `make test` and `make test-all`."""
MUTANT_SCHEDULES_MAX = 3_000


@pytest.mark.parametrize(("kind", "schedules"), SCHEDULES.items())
def test_every_schedule_leaves_each_effect_exactly_once(kind: str, schedules: int) -> None:
    """Crashes, zombies, rebalances, aborts, lost and late effects, refusals: all agrees."""
    failure = run(kind, range(schedules))
    assert failure is None, str(failure)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "schedules"), SCHEDULES_OF_ALL.items())
def test_every_schedule_of_many_leaves_each_effect_exactly_once(kind: str, schedules: int) -> None:
    """What is beyond the first ones."""
    failure = run(kind, range(SCHEDULES[kind], schedules))
    assert failure is None, str(failure)


WITHIN = {"core": 300, "webhook": 120, "service": 120}
"""So many schedules contain everything."""
IN_ALL = (
    "dies",
    "sleeps until",
    "is to give away",
    "is told to leave",
    "aborted",
    "committed .* known late",
    "request_lost",
    "reply_lost",
    "sends .* late",
    "throttled",
    "reason='lease'",
    "InDoubt.*TimeoutError|InDoubt.*reply_lost",
    "duplicate message_id",
    "duplicate redelivered",
    "rejected",
)
OF_WOOTRIC = (
    "unauthorized",
    "forbidden",
    "refused=True",
    "ends page_view .* InDoubt",
    "parked ambiguous",
    "delete_end_user",
    "ends create_response .* Delivered.*attempts=0",
    "skipped unchanged",
    "skipped stale",
    "skipped no_email",
)
IN_SERVICE = (
    "circuit api True",
    "circuit pixel True",
    "sends probe",
    " cut",
    " reset",
    "not_sent",
    r"hears of pauses \[\d",
)
EXPECTED = {
    "core": IN_ALL + OF_WOOTRIC,
    "webhook": IN_ALL,
    "service": IN_ALL + OF_WOOTRIC + IN_SERVICE,
}


@pytest.mark.parametrize("kind", WITHIN)
def test_the_schedules_contain_what_they_are_said_to(kind: str) -> None:
    """Merged and split requests too, page views that are sent again, and responses just alike."""
    steps: list[str] = []
    sizes: set[int] = set()
    split = resent = alike = False
    for seed in range(WITHIN[kind]):
        world = KINDS[kind](seed, Settings(traced=True))
        with silent():
            world.run()
        steps += world.trace or ()
        members = [intent.members for intent in world.witness.intents]
        sizes |= {len(one) for one in members}
        split |= any(set(one) < set(other) for one in members for other in members)
        alike |= any(count > 1 for count in Counter(world.witness.surveys.values()).values())
        resent |= any(count > 1 for count in world.witness.views.values())
    text = "\n".join(steps)
    assert [one for one in EXPECTED[kind] if not re.search(one, text)] == []
    if kind != "webhook":  # where nothing merges, and no two are alike
        assert max(sizes) > 2
        assert (split, resent, alike) == (True, True, True)


WITH_KEYS = ("barrier", "re-emission after an abort", "dedupe", "ownership of requests in flight")
"""The safeguards that a destination needs although it holds each event once by its key."""


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, mutant.kind) for name, mutant in MUTANTS.items()]
    + [(name, "webhook") for name in WITH_KEYS],
)
def test_the_simulation_finds_what_a_missing_safeguard_does(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that a rule was broken, but what comes of it: an effect too many, or one too few."""
    mutant = MUTANTS[name]
    mutant.remove(monkeypatch)
    settings = Settings(quiet_s=mutant.quiet_s, harm_only=True)
    failure = first_failure(kind, range(MUTANT_SCHEDULES_MAX), settings)
    assert failure is not None
    assert failure.why.startswith("ViolationError: ")
    assert first_failure(failure.kind, [failure.seed], settings) == failure


def test_every_safeguard_that_the_simulation_is_said_to_show_is_taken_away() -> None:
    assert set(MUTANTS) == shown_by(SIMULATION)


def test_a_schedule_is_the_same_whenever_it_is_run() -> None:
    """A seed is worth nothing unless it leads to the same steps in another process."""
    command = [sys.executable, str(Path(__file__).parent), "--service", "--seed", "7"]
    told = [
        subprocess.run(
            command,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert "the guarantee holds" in told[0]
