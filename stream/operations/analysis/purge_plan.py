"""What of a person can be erased, how, and when the rest is gone. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stream.operations.analysis.dead_letters import Kind, Place

NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long a topic keeps records, in milliseconds; infinite where that is not bounded."""

    retention_ms: float
    segment_ms: float
    compacts: bool = False
    compaction_lag_ms: float = NEVER

    @classmethod
    def of(cls, config: Mapping[str, str]) -> "Keeping":
        """Return what a topic's configuration says."""
        policy = config.get("cleanup.policy", "delete")
        kept = float(config.get("retention.ms", "-1")) if "delete" in policy else -1.0
        lag = float(config.get("max.compaction.lag.ms", str(2**63 - 1)))
        return cls(
            retention_ms=kept if kept >= 0 else NEVER,
            segment_ms=float(config.get("segment.ms", "0")),
            compacts="compact" in policy,
            compaction_lag_ms=NEVER if lag >= 2**63 - 1 else lag,
        )

    def gone_by(self, written_ms: float) -> float:
        """Return when a record is gone at the latest, as far as time decides.

        Its segment is closed ``segment_ms`` after its first record, and deleted once its
        newest record is older than the retention.
        """
        return written_ms + self.segment_ms + self.retention_ms

    def compacted_by(self, replaced_ms: float) -> float:
        """Return when a value that was replaced is gone at the latest."""
        lag = self.segment_ms + self.compaction_lag_ms if self.compacts else NEVER
        return min(replaced_ms + lag, self.gone_by(replaced_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Deleting the records of a partition up to the last one about a person.

    ``blockers`` are letters of others among them that are not past use.
    """

    kind: Kind
    partition: int
    before: int
    theirs: int
    others: int
    blockers: Sequence[Place]


def cuts(
    kind: Kind, theirs: Collection[Place], there: Collection[Place], used: Collection[Place]
) -> list[Cut]:
    """Return what deleting a person's letters of one topic would take along.

    ``there`` are all letters, ``used`` those about which something was done: they are past use.
    """
    ends: dict[int, int] = {}
    for number, offset in theirs:
        ends[number] = max(ends.get(number, 0), offset + 1)
    found = []
    for number, before in sorted(ends.items()):
        among = {place for place in there if place.partition == number and place.offset < before}
        others = among - set(theirs)
        found.append(
            Cut(
                kind=kind,
                partition=number,
                before=before,
                theirs=len(among) - len(others),
                others=len(others),
                blockers=sorted(others - set(used)),
            )
        )
    return found
