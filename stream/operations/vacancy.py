"""Waiting until nobody is in the group: its offsets and its ledger are nobody's then."""

import time

from stream.kafka.rewind import occupied
from stream.operations.session import Desk
from stream.operations.terminal import say

LOOK_EVERY_S = 0.5
PATIENCE_S = 1.0
"""Beyond the session of a worker that has just ended: a static member is missed that late."""


def await_vacancy(desk: Desk) -> None:
    """Return once the group has no members; those that have just ended are waited for.

    Raises:
        StartupError: it still has some, for longer than a session lasts.
    """
    members = desk.survey.group.members()
    if not members:
        return
    wait_s = desk.config.session_timeout_s + PATIENCE_S
    say(f"in the group: {', '.join(members)}; waiting {wait_s:.0f} s for them to leave")
    deadline = time.monotonic() + wait_s
    while members:
        if time.monotonic() > deadline:
            raise occupied(desk.config, members)
        time.sleep(LOOK_EVERY_S)
        members = desk.survey.group.members()
