"""What an offset's metadata says, and when the ledger is known to have lost records."""

from dataclasses import dataclass

import pytest

from stream.kafka.transactions import CommitMetadata, LedgerEndOffsets


@dataclass
class Report:
    """A record as a delivery report shows it."""

    at: int | None
    number: int = 0

    def offset(self) -> int | None:
        return self.at

    def partition(self) -> int:
        return self.number


@pytest.mark.parametrize("instance", ["w1", "host:with:colons", "a@b"])
def test_a_stamp_is_read_as_it_was_written(instance: str) -> None:
    stamp = CommitMetadata(instance, 1_700_000_000_000, 42, 512)
    assert CommitMetadata.parse(str(stamp)) == stamp


def test_a_stamp_of_an_older_release_knows_no_end() -> None:
    assert CommitMetadata.parse("w1:17:42") == CommitMetadata("w1", 17, 42, 0)


@pytest.mark.parametrize("metadata", [None, "", "by hand", "a:b", "w1:x:1@2", "w1:1:2@x"])
def test_what_others_write_is_no_stamp(metadata: str | None) -> None:
    """Offsets set by hand say that somebody has decided."""
    assert CommitMetadata.parse(metadata) is None


def test_a_commit_is_known_by_all_but_the_end() -> None:
    """Each partition of one transaction has its own."""
    stamp = CommitMetadata("w1", 17, 42)
    assert stamp.same_commit(CommitMetadata("w1", 17, 42, 99))
    assert not stamp.same_commit(CommitMetadata("w1", 17, 43, 99))
    assert not stamp.same_commit(None)


def test_a_record_below_the_known_end_means_that_records_are_gone() -> None:
    ends = LedgerEndOffsets()
    ends.advance(0, 10)
    for at in (10, 11, None, -1001):
        ends.on_delivery(None, Report(at))
    ends.on_delivery("failed", Report(3))
    ends.on_delivery(None, Report(0, number=1))
    assert ends.lost is None
    assert (ends.get(0), ends.get(1), ends.get(2)) == (12, 1, 0)
    ends.on_delivery(None, Report(11))
    assert ends.lost is not None
    assert ends.get(0) == 12
