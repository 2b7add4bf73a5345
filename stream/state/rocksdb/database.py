"""RocksDB as this service uses it: one database a partition, all within two bounds of memory.

There is no write-ahead log: the ledger is one. What a kill or a power cut takes away is the end of
what was written, whole batches at a time, because all of it is in one column family, and flushed
tables are synced before the manifest names them. Source: RocksDB's wiki, "WAL Performance" and
"Atomic flush" (read 2026-11).
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
"""Blocks, indexes and filters of all partitions, an equal share each."""
CACHE_BYTES_INITIAL = 4 * 1024 * 1024
"""What a share is laid out for: in eight parts with a lock each, whatever its size is later."""
BUFFERS_BYTES = 64 * 1024 * 1024
"""What is not flushed yet, of all partitions; a flush begins when it is reached."""
BUFFER_BYTES = 16 * 1024 * 1024
BUFFERS_MAX = 4
BLOCK_BYTES = 8 * 1024
FILTER_BITS = 10
OPEN_FILES_MAX = 128
BULK_TABLES_MAX = 24
"""So many tables of 16 MB may lie side by side before they are merged, while a restore goes on."""
UNCACHE_ALWAYS = "10000"
"""Blocks of a table that is gone leave the cache with it. By default they stay until the cache is
full, which with few events takes hours, and memory grows meanwhile (measured: 29 MB of blocks for
8 MB of tables). Less than this gives up where blocks lie together that were never read, as those
of receipts. Source: RocksDB's options, ``uncache_aggressiveness``.
"""
NEVER_STALL = 1 << 30
"""Writes never wait within the library, where nothing else could happen: they are refused."""
COVERED = b"\0at"
CLAIM = b"\0claim/"
"""Our own keys; those of the ledger begin with a letter, and come behind them."""


class DatabaseFactory:
    """Opens databases that share their memory.

    A cache is one database's and goes with it: in a common one the blocks of a partition that is
    somebody else's now would stay until it is full.
    """

    def __init__(self) -> None:
        self._caches: list[Cache] = []
        self._lock = threading.Lock()
        self._buffers = WriteBufferManager(BUFFERS_BYTES, allow_stall=False)

    def open(self, directory: Path, *, bulk: bool = False) -> "Database":
        """Open a database, or make it; in ``bulk`` it is quick to write and slow to read.

        Raises:
            Exception: with RocksDB's words.
        """
        cache = Cache(CACHE_BYTES_INITIAL)
        options = self._options(cache)
        if bulk:  # what is written is sorted by the thread that flushes it, not one by one
            options.set_memtable_factory(MemtableFactory.vector())
            options.set_allow_concurrent_memtable_write(False)
            options.set_level_zero_file_num_compaction_trigger(BULK_TABLES_MAX)
        # Without column families it would take the options that the last one was opened with.
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
        # In parts, or one filter would be larger than a shard of the cache, and read each time.
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
    """One open database: bytes by bytes. Every method raises ``Exception`` with RocksDB's words."""

    def __init__(self, rocks: Rdict, *, on_close: Callable[[], None]) -> None:
        self._rocks = rocks
        self._on_close = on_close
        self._options = WriteOptions()
        # The stub takes this one for a method.
        self._options.disable_wal = True  # type: ignore[method-assign,assignment]
        self._options.no_slowdown = True
        self.get = rocks.get

    def write(self, entries: Iterable[RawEntry], prefix: bytes, covered: bytes) -> None:
        """Write all of it, or nothing, values behind a prefix; a value of None deletes."""
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
        """Yield keys and values from a key on, in their order."""
        iterator = self._rocks.iter()
        iterator.seek(first)
        while iterator.valid():
            yield iterator.key(), iterator.value()
            iterator.next()
        iterator.status()  # an end that is none raises

    def is_behind(self) -> bool:
        """Whether a few more full buffers would make writes wait for the disk."""
        waiting = self._rocks.property_int_value("rocksdb.num-immutable-mem-table") or 0
        return waiting >= BUFFERS_MAX - 2

    def entries(self) -> int:
        """Return the number of keys, as it is estimated."""
        return self._rocks.property_int_value("rocksdb.estimate-num-keys") or 0

    def disk_bytes(self) -> int:
        """Return the size of its tables."""
        return self._rocks.property_int_value("rocksdb.total-sst-files-size") or 0

    def flush(self, *, wait: bool = True) -> None:
        """Bring to disk what was written; without waiting for it, or until it is there."""
        self._rocks.flush(wait)

    def close(self) -> None:
        """Close it."""
        try:
            self._rocks.close()
        finally:
            self._on_close()


def claim_key(remote_id: int) -> bytes:
    """Return the key that says that a receipt names this response or decline."""
    return CLAIM + str(remote_id).encode()
