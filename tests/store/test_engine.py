"""What RocksDB does as it is set up here, where its defaults would not do."""

from pathlib import Path

from stream.store.engine import Database, Engine

USERS = 2_000


def profiles(database: Database, plan: bytes) -> None:
    """Write one of every user, among as many receipts that nobody will ask for."""
    entries = [(b"event/%032d" % number, plan, number) for number in range(USERS)]
    entries += [(b"user/%05d" % number, plan * 100, None) for number in range(USERS)]
    database.write(entries, b"\0" * 8, plan)
    database.flush()


def test_blocks_of_tables_that_are_gone_are_not_kept(tmp_path: Path) -> None:
    """They would stay until the cache is full: for hours, and memory would grow meanwhile."""
    engine = Engine()
    database = engine.open(tmp_path / "db")
    for plan in (b"free", b"paid"):
        profiles(database, plan)
        assert all(database.get(b"user/%05d" % number) for number in range(USERS))
    cached = engine._cache.get_usage()
    assert cached > 1_000_000
    database._rocks.compact_range(None, None)
    assert engine._cache.get_usage() < cached / 10
    assert database.get(b"user/00007") == b"\0" * 8 + b"paid" * 100
