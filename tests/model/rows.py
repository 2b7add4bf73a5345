"""The variants of the protocol that are looked at, and what is known of each."""

from dataclasses import dataclass
from functools import partial

from explore import Exploration, Explorer
from protocol import FIRST, LATE, Kind, Protocol, State, fault, following


@dataclass(frozen=True, slots=True)
class Row:
    """A variant; ``result`` is the violation that the shortest way leads to, or ``none``."""

    variant: str
    kind: Kind
    result: str
    protocol: Protocol

    def explore(self) -> Exploration:
        """Visit every state of the variant, or as many as it takes to find a violation."""
        explorer: Explorer[State] = Explorer(
            partial(following, protocol=self.protocol), partial(fault, protocol=self.protocol)
        )
        return explorer.explore(FIRST)


def _row(variant: str, result: str, kind: Kind = Kind.OBSERVABLE, **without: bool | int) -> Row:
    return Row(variant, kind, result, Protocol(kind=kind, **without))  # type: ignore[arg-type]


ROWS = (
    _row("all safeguards", "none"),
    _row("all safeguards", "none", Kind.REPEATABLE),
    _row("all safeguards", "none", Kind.UNOBSERVABLE),
    _row("offsets committed before the request", "loss", offsets_after=False, intents=False),
    _row("receipts and offsets in a transaction, no intents", "duplicate", intents=False),
    _row("intents not fenced", "duplicate", fence=False),
    _row("no lease", "duplicate", lease=False),
    _row("lease counted from the reply to the commit", "duplicate", lease_from_begin=False),
    _row("no wait before a predecessor's effect is looked for", "duplicate", takeover_wait=False),
    _row("no quiet period before one's own effect is looked for", "duplicate", quiet=False),
    _row("sent again without a look", "duplicate", look=False),
    _row("effects of others taken for one's own", "loss", claims=False),
    _row("ledger read without a barrier", "duplicate", barrier=False),
    _row("an abort taken for settled", "loss", re_emission=False),
    _row("an unknown commit taken for committed", "duplicate", read_back=False),
    _row("no wait before the next version", "stale", Kind.REPEATABLE, quiet=False),
    _row("no lease", "stale", Kind.REPEATABLE, lease=False),
    _row("a pause between lease check and first byte", "duplicate", one_step=False),
    _row("an effect later than the quiet period", "duplicate", late=LATE + 1),
)
NOT_CLAIMED = ROWS[-2:]
"""What no safeguard of ours can exclude; docs/explanation/guarantee.md says so."""
