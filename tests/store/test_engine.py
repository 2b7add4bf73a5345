"""What RocksDB does as it is set up here, where its defaults would not do."""

from pathlib import Path

import psutil
import pytest
from rocksdict import DbClosedError

from stream.runtime.worker import release_free_memory
from stream.state.rocksdb import database as engine
from stream.state.rocksdb.database import Database, DatabaseFactory

USERS = 2_000


def profiles(database: Database, plan: bytes) -> None:
    """Write and read one of every user, among as many receipts that nobody asks for."""
    entries = [(b"event/%032d" % number, plan, number) for number in range(USERS)]
    entries += [(b"user/%05d" % number, plan * 1_000, None) for number in range(USERS)]
    database.write(entries, b"\0" * 8, plan)
    database.flush()
    assert all(database.get(b"user/%05d" % number) for number in range(USERS))


def cached(engine: DatabaseFactory) -> int:
    return sum(cache.get_usage() for cache in engine._caches)


def resident() -> int:
    release_free_memory()
    return int(psutil.Process().memory_info().rss)


def test_blocks_of_tables_that_are_gone_are_not_kept(tmp_path: Path) -> None:
    """They would stay until the cache is full: for hours, and memory would grow meanwhile."""
    engine = DatabaseFactory()
    database = engine.open(tmp_path / "db")
    for plan in (b"free", b"paid"):
        profiles(database, plan)
    before = cached(engine)
    assert before > 8_000_000
    database._rocks.compact_range(None, None)
    assert cached(engine) < before / 10
    assert database.get(b"user/00007") == b"\0" * 8 + b"paid" * 1_000


def test_blocks_of_a_database_that_is_closed_are_not_kept(tmp_path: Path) -> None:
    """Whoever has the partition next has other tables soon."""
    engine = DatabaseFactory()
    stays, goes = (engine.open(tmp_path / name) for name in ("stays", "goes"))
    profiles(stays, b"free")
    profiles(goes, b"free")
    kept, held = cached(engine) / 2, resident()
    goes.close()
    assert cached(engine) == pytest.approx(kept, rel=0.2)
    assert held - resident() > kept / 2
    with pytest.raises(DbClosedError):
        goes.close()
    assert cached(engine) == pytest.approx(kept, rel=0.2)


def test_all_databases_together_keep_within_one_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CACHE_BYTES", 4_000_000)
    shared = DatabaseFactory()
    databases = [shared.open(tmp_path / str(number)) for number in range(4)]
    for database in databases:
        profiles(database, b"free")
    assert 3_000_000 < cached(shared) < 4_400_000
    for database in databases[1:]:
        database.close()
    assert all(databases[0].get(b"user/%05d" % number) for number in range(USERS))
    assert cached(shared) > 3_000_000
