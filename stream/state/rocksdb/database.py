"""RocksDB databases, one per partition, within two memory limits.

There is no write-ahead log, because the ledger serves as one. A kill or a power cut loses the most
recent writes, in whole batches: all data is in one column family, and flushed tables are synced
before the manifest names them. Source: RocksDB's wiki, "WAL Performance" and "Atomic flush" (read
2026-11).
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from rocksdict import (
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    MemtableFactory,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from stream.state.store import RawEntry

CACHE_BYTES = 64 * 1024 * 1024
"""Blocks, indexes and filters of all partitions, divided equally."""
CACHE_BYTES_INITIAL = 4 * 1024 * 1024
"""Initial size of a cache: it determines the eight shards, each with a lock, whatever the size is
later."""
BUFFERS_BYTES = 64 * 1024 * 1024
"""Unflushed data of all partitions; reaching it starts a flush."""
BUFFER_BYTES = 16 * 1024 * 1024
BUFFERS_MAX = 4
BLOCK_BYTES = 8 * 1024
FILTER_BITS = 10
OPEN_FILES_MAX = 128
BULK_TABLES_MAX = 24
"""Number of 16 MB tables before they are merged, during a restore."""
UNCACHE_ALWAYS = "10000"
"""Blocks of a deleted table are removed from the cache. By default they stay until the cache is
full, which takes hours with few events, and memory grows meanwhile (measured: 29 MB of blocks for 8
MB of tables). Lower values give up at adjacent blocks that were never read, as those of receipts.
Source: RocksDB's options, ``uncache_aggressiveness``."""
NEVER_STALL = 1 << 30
"""Writes never block inside the library, where nothing could interrupt them: they fail instead."""
COVERED = b"\0at"
CLAIM = b"\0claim/"
"""Prefix of this module's own keys. Ledger keys begin with a letter and sort after them."""


class DatabaseFactory:
    """Opens databases that share their memory.

    Each database has its own cache, which is freed with it: in a common cache, the blocks of a
    revoked partition would stay until it is full.
    """

    def __init__(self) -> None:
        self._caches: list[Cache] = []
        self._lock = threading.Lock()
        self._buffers = WriteBufferManager(BUFFERS_BYTES, allow_stall=False)

    def open(self, directory: Path, *, bulk: bool = False) -> "Database":
        """Open or create a database; with ``bulk`` it is fast to write and slow to read.

        Raises:
            Exception: with RocksDB's message.
        """
        cache = Cache(CACHE_BYTES_INITIAL)
        options = self._options(cache)
        if bulk:  # writes are sorted when flushed, not one by one
            options.set_memtable_factory(MemtableFactory.vector())
            options.set_allow_concurrent_memtable_write(False)
            options.set_level_zero_file_num_compaction_trigger(BULK_TABLES_MAX)
        # Without column families, the options of the previous open would be used.
        rocks = Rdict(str(directory), options, column_families={"default": options})
        rocks.set_options({"uncache_aggressiveness": UNCACHE_ALWAYS})
        with self._lock:
            self._caches.append(cache)
            self._divide_cache()
        return Database(rocks, on_close=partial(self._release_cache, cache))

    def _release_cache(self, cache: Cache) -> None:
        with self._lock:
            if cache in self._caches:
                self._caches.remove(cache)
                cache.set_capacity(0)
                self._divide_cache()

    def _divide_cache(self) -> None:
        for cache in self._caches:
            cache.set_capacity(CACHE_BYTES // len(self._caches))

    def _options(self, cache: Cache) -> Options:
        table = BlockBasedOptions()
        table.set_block_cache(cache)
        table.set_block_size(BLOCK_BYTES)
        table.set_bloom_filter(FILTER_BITS, block_based=False)
        # Partitioned: a whole filter would exceed a cache shard and be read each time.
        table.set_index_type(BlockBasedIndexType.two_level_index_search())
        table.set_partition_filters(True)
        table.set_metadata_block_size(BLOCK_BYTES)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        table.set_format_version(5)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(BUFFER_BYTES)
        options.set_max_write_buffer_number(BUFFERS_MAX)
        options.set_level_compaction_dynamic_level_bytes(True)
        options.set_level_zero_slowdown_writes_trigger(NEVER_STALL)
        options.set_level_zero_stop_writes_trigger(NEVER_STALL)
        options.set_soft_pending_compaction_bytes_limit(0)
        options.set_hard_pending_compaction_bytes_limit(0)
        options.set_max_background_jobs(2)
        options.set_max_open_files(OPEN_FILES_MAX)
        options.set_keep_log_file_num(2)
        options.set_max_log_file_size(1024 * 1024)
        options.set_stats_dump_period_sec(0)
        return options


class Database:
    """One open database of bytes. Every method raises ``Exception`` with RocksDB's message."""

    def __init__(self, rocks: Rdict, *, on_close: Callable[[], None]) -> None:
        self._rocks = rocks
        self._on_close = on_close
        self._options = WriteOptions()
        # The stub declares this attribute as a method.
        self._options.disable_wal = True  # type: ignore[method-assign,assignment]
        self._options.no_slowdown = True
        self.get = rocks.get

    def write(self, entries: Iterable[RawEntry], prefix: bytes, covered: bytes) -> None:
        """Write all entries atomically, each value after a prefix; a value of None deletes."""
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value, remote_id in entries:
            if value is None:
                delete(key)
            else:
                put(key, prefix + value)
            if remote_id is not None:
                put(claim_key(remote_id), prefix)
        put(COVERED, covered)
        self._rocks.write(batch, self._options)

    def delete(self, keys: Iterable[bytes]) -> None:
        """Delete keys."""
        batch = WriteBatch(raw_mode=True)
        for key in keys:
            batch.delete(key)
        self._rocks.write(batch, self._options)

    def items(self, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values in order, starting at a key."""
        iterator = self._rocks.iter()
        iterator.seek(first)
        while iterator.valid():
            yield iterator.key(), iterator.value()
            iterator.next()
        iterator.status()  # raises if the iteration ended with an error

    def is_behind(self) -> bool:
        """Return whether a few more full buffers would block writes."""
        waiting = self._rocks.property_int_value("rocksdb.num-immutable-mem-table") or 0
        return waiting >= BUFFERS_MAX - 2

    def entries(self) -> int:
        """Return the estimated number of keys."""
        return self._rocks.property_int_value("rocksdb.estimate-num-keys") or 0

    def disk_bytes(self) -> int:
        """Return the size of the tables in bytes."""
        return self._rocks.property_int_value("rocksdb.total-sst-files-size") or 0

    def flush(self, *, wait: bool = True) -> None:
        """Flush to disk; with ``wait``, return when it is done."""
        self._rocks.flush(wait)

    def close(self) -> None:
        """Close the database."""
        try:
            self._rocks.close()
        finally:
            self._on_close()


def claim_key(remote_id: int) -> bytes:
    """Return the key that marks a response or decline as named by a receipt."""
    return CLAIM + str(remote_id).encode()
