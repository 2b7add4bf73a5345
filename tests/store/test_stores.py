"""A store that is no use is replaced by a fresh one, and a disk that fails ends the worker."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest
from common_store import PART, World
from structlog.testing import capture_logs

from stream.errors import StateStoreError
from stream.state.rocksdb.store import STALL_S_MAX, RocksDbStateStore
from stream.state.store import InMemoryStateStore, LedgerPartitionInfo, StateStore

DAY_S = 86_400


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def damage(pattern: str) -> Callable[[World], None]:
    """Overwrite the middle of the largest file of a kind."""

    def act(world: World) -> None:
        file = max((world.folder / "db").glob(pattern), key=lambda path: path.stat().st_size)
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[: middle - 8] + b"\xa5" * 16 + content[middle + 8 :])

    return act


def remove(pattern: str) -> Callable[[World], None]:
    def act(world: World) -> None:
        for file in (world.folder / "db").glob(pattern):
            file.unlink()

    return act


def cut(world: World) -> None:
    """Leave half of the newest table, as a disk that lost its end."""
    for file in (world.folder / "db").glob("*.sst"):
        os.truncate(file, file.stat().st_size // 2)


def of_another_format(world: World) -> None:
    (world.folder / "identity").write_bytes(b'[0, "a-cluster", "a-topic", 3]')


def nothing(world: World) -> None:
    """The store is as it was left."""


AT_900 = replace(PART, begin=10, end=1_500)


@pytest.mark.parametrize(
    ("happens", "part", "later_s", "reason"),
    [
        (remove("CURRENT"), AT_900, 0, "corrupt"),
        (remove("*.sst"), AT_900, 0, "corrupt"),
        (damage("MANIFEST*"), AT_900, 0, "corrupt"),
        (cut, AT_900, 0, "corrupt"),
        (of_another_format, AT_900, 0, "foreign"),
        (nothing, replace(AT_900, end=899), 0, "ahead"),
        (nothing, replace(AT_900, begin=901), 0, "behind"),
        (nothing, AT_900, DAY_S / 2 + 1, "stale"),
        (nothing, AT_900, -301, "stale"),
        (nothing, replace(AT_900, tombstones_kept_s=10), 6, "stale"),
    ],
)
def test_an_unusable_store_is_rebuilt(
    world: World,
    happens: Callable[[World], None],
    part: LedgerPartitionInfo,
    later_s: float,
    reason: str,
) -> None:
    """The ledger is read from its beginning, and somebody is told why."""
    world.written().state.close()
    happens(world)
    world.now += later_s
    with capture_logs() as logs:
        state, covered, warm = world.open(part)
    assert [(line["event"], line.get("reason")) for line in logs] == [
        ("state_store_rebuilt", reason)
    ]
    assert (covered, warm) == (part.begin, False)
    assert [state.get("event/a"), state.intents(), state.claims(7)] == [None, {}, False]
    state.apply_changelog([(b"event/b", b"B", None)], 1_500)
    state.save(1_500)
    state.close()
    state, covered, warm = world.open(replace(part, end=1_500))
    assert (covered, warm, state.get("event/b")) == (1_500, True, b"B")
    state.close()


@pytest.mark.parametrize(
    ("part", "later_s"),
    [
        (AT_900, 0),
        (AT_900, DAY_S / 2 - 1),
        (AT_900, -299),
        (replace(AT_900, end=901), 6 * DAY_S),
        (replace(AT_900, begin=900, end=900), 6 * DAY_S),
    ],
)
def test_a_store_that_fits_is_taken_as_it_is(
    world: World, part: LedgerPartitionInfo, later_s: float
) -> None:
    """What lies behind its offset is read; where nothing does, its age is no matter."""
    world.written().state.close()
    world.now += later_s
    with capture_logs() as logs:
        state, covered, warm = world.open(part)
    assert (logs, covered, warm) == ([], 900, True)
    assert [state.get("event/a"), state.intents(), state.claims(7)] == [b"A", {"l": b"I"}, True]
    state.close()


@pytest.mark.parametrize("change", [{"cluster_id": "b"}, {"topic_id": "b"}, {"number": 4}])
def test_another_ledger_has_another_store(world: World, change: dict[str, object]) -> None:
    """A topic that was made again has the same name and another id."""
    world.written().state.close()
    other = world.open(replace(AT_900, **change))  # type: ignore[arg-type]
    assert (other.covered, other.state.get("event/a")) == (10, None)
    other.state.close()
    own = world.open(AT_900)
    assert own.state.get("event/a") == b"A"
    own.state.close()


def test_what_is_older_than_the_ledger_is_removed_at_the_start(world: World) -> None:
    """It is people's data; what somebody has, or may go on with, stays."""
    for number in (4, 5, 6):
        world.written(replace(PART, number=number)).state.close()
    other = world.stores()
    held = other.open(replace(AT_900, number=5)).state
    for name in ("4", "5"):
        folder = world.folder.with_name(name)
        for file in (folder, *folder.rglob("*")):
            os.utime(file, (world.now - 7 * DAY_S - 1,) * 2)
    world.open(AT_900).state.close()
    assert sorted(path.name for path in world.folder.parent.iterdir()) == ["3", "5", "6"]
    held.close()


def test_a_first_start_warns_of_nothing(world: World) -> None:
    with capture_logs() as logs:
        state, covered, warm = world.open(AT_900)
    assert (logs, covered, warm) == ([], 10, False)
    state.close()


HOLDER = """
import sys
from pathlib import Path
from common_store import World
state = World(Path(sys.argv[1])).written().state
print("held", flush=True)
sys.stdin.read()
"""


def test_a_store_that_another_process_has_is_left_to_it(world: World) -> None:
    """Memory is used meanwhile, and the store again when the partition is opened later."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(world.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with capture_logs() as logs:
                memory, covered, warm = world.open(AT_900)
            assert [(line["event"], line["error"]) for line in logs] == [
                ("state_store_unusable", "another process holds it")
            ]
            assert isinstance(memory, InMemoryStateStore)
            assert (covered, warm) == (10, False)
        finally:
            holder.kill()
    state, covered, _ = world.open(AT_900)
    assert (covered, state.get("event/a")) == (900, b"A")
    assert sorted(path.name for path in world.folder.parent.iterdir()) == ["3"]
    state.close()


def test_an_earlier_assignment_of_our_own_is_waited_for(world: World) -> None:
    """A partition that goes and comes back finds its store closed, if only a moment later."""
    import threading  # noqa: PLC0415

    stores = world.stores()
    first = stores.open(AT_900).state
    first.put("event/a", b"A")
    first.save(900)
    threading.Timer(0.3, first.close).start()
    state, covered, warm = stores.open(AT_900)
    assert (covered, warm, state.get("event/a")) == (900, True, b"A")
    state.close()


def test_a_directory_that_cannot_be_written_leaves_memory(world: World) -> None:
    """The worker goes on as without STATE__DIR, and says so."""
    (world.directory / "a-cluster").write_text("a file where a folder has to be")
    with capture_logs() as logs:
        state, covered, warm = world.open(AT_900)
    assert [line["event"] for line in logs] == ["state_store_unusable"]
    assert isinstance(state, InMemoryStateStore)
    assert (covered, warm) == (10, False)


def test_damage_that_shows_later_ends_the_worker_and_rebuilds_the_store(world: World) -> None:
    """A block whose checksum is wrong is never taken for an answer."""
    state = world.open(AT_900).state
    state.apply_changelog(
        [(f"event/{n}".encode(), os.urandom(200), None) for n in range(5_000)], 900
    )
    state.save(900)
    state.close()
    damage("*.sst")(world)
    with capture_logs() as logs:
        state = world.open(AT_900).state
        with pytest.raises(StateStoreError):
            [state.get(f"event/{n}") for n in range(5_000)]
        state.close()
        again = world.open(AT_900)
    assert [line["event"] for line in logs] == ["state_unreadable", "state_store_rebuilt"]
    assert len(world.failures) == 1
    assert (again.covered, again.warm) == (10, False)
    again.state.close()


def test_intents_that_cannot_all_be_read_are_no_answer(world: World) -> None:
    """A scan that stops early would forget requests that may have been sent."""
    state = world.open(AT_900).state
    state.apply_changelog(
        [(f"intent/{n}".encode(), os.urandom(200), None) for n in range(5_000)], 900
    )
    state.save(900)
    state.close()
    damage("*.sst")(world)
    state = world.open(AT_900).state
    with pytest.raises(StateStoreError):
        state.intents()
    state.close()


class Refusing:
    """A disk that takes nothing for a while; all else is the real database's."""

    def __init__(
        self,
        state: RocksDbStateStore,
        why: str = "IO error: No space left on device",
        times: int = 0,
    ) -> None:
        self.database = state._database
        self.refuses = True
        self.refuses_to_delete = False
        self.why, self.times = why, times
        state._database = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        return getattr(self.database, name)

    def write(self, *arguments: object) -> None:
        if self.refuses:
            self.times -= 1
            self.refuses = self.times != 0
            raise OSError(self.why)
        self.database.write(*arguments)  # type: ignore[arg-type]

    def delete(self, keys: list[bytes]) -> None:
        if self.refuses_to_delete:
            self.refuses_to_delete = False
            raise OSError("Result incomplete: Write stall")
        self.database.delete(keys)

    def flush(self, **options: bool) -> None:
        if self.refuses:
            raise OSError(self.why)
        self.database.flush(**options)


@pytest.mark.parametrize("during", ["a restore", "its end", "the work"])
def test_a_full_disk_ends_the_worker_and_rebuilds_the_store(world: World, during: str) -> None:
    """What it refuses is in the ledger; what is on it is never taken for more than that."""
    state = world.open(MUCH if during == "its end" else AT_900).state
    assert isinstance(state, RocksDbStateStore)
    disk = Refusing(state)
    disk.refuses = False
    state.apply_changelog([(b"event/a", b"A", 7)], 900)
    if during == "the work":
        state.save(900)
    disk.refuses = True
    state.put("event/b", b"B", 8)
    with capture_logs() as logs:
        write = (
            partial(state.apply_changelog, [(b"event/b", b"B", 8)])
            if during == "a restore"
            else state.save
        )
        with pytest.raises(StateStoreError, match="No space left"):
            write(910)
        assert len(world.failures) == 1
        disk.refuses = False
        state.close()
        opened = world.open(AT_900)
    assert [line["event"] for line in logs] == ["state_unreadable", "state_store_rebuilt"]
    assert len(world.failures) == 1
    assert (opened.covered, opened.warm, opened.state.get("event/a")) == (10, False, None)
    opened.state.close()


def test_a_disk_without_any_room_leaves_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store cannot even be marked; the worker that comes after goes on without it."""
    state = world.written().state
    assert isinstance(state, RocksDbStateStore)
    Refusing(state)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    state.put("event/b", b"B")
    with capture_logs() as logs:
        with pytest.raises(StateStoreError):
            state.save(910)
        state.close()
        opened = world.open(AT_900)
    assert [line["event"] for line in logs][-1] == "state_store_unusable"
    assert isinstance(opened.state, InMemoryStateStore)
    assert (opened.covered, opened.warm) == (10, False)


def test_a_write_that_is_only_delayed_is_no_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is answered from memory and written by a later commit; not for ever, though."""
    state = world.written().state
    assert isinstance(state, RocksDbStateStore)
    state.save(900)
    disk = Refusing(state, "Result incomplete: Write stall", times=2)
    state.put("event/b", b"B", 8)
    state.put("intent/l", None)
    for covered in (910, 920):
        state.save(covered)
        assert [state.get("event/b"), state.claims(8), state.intents()] == [b"B", True, {}]
    state.save(930)
    assert (disk.refuses, world.failures) == (False, [])
    disk.refuses = True
    state.put("event/c", b"C")
    state.save(940)
    began_at = state._stalled_at or 0.0
    monkeypatch.setattr(
        "stream.state.rocksdb.store.time.monotonic", lambda: began_at + STALL_S_MAX + 1
    )
    with pytest.raises(StateStoreError):
        state.save(950)
    state.close()


def test_a_removal_that_is_only_delayed_is_no_failure(world: World) -> None:
    """What the ledger has forgotten goes with a later commit."""
    state = world.written().state
    assert isinstance(state, RocksDbStateStore)
    disk = Refusing(state)
    disk.refuses, disk.refuses_to_delete = False, True
    state.save(900)
    state.trim(901)
    for number in range(2_000):
        state.put(f"event/{number}", b"new")
        if number % 100 == 99:
            state.save(1_000 + number)
    assert (disk.refuses_to_delete, world.failures) == (False, [])
    assert [state.get("event/a"), state.get("event/1999")] == [None, b"new"]
    state.close()


def test_a_full_disk_at_the_end_costs_a_longer_restore_only(world: World) -> None:
    state = world.written().state
    assert isinstance(state, RocksDbStateStore)
    state.save(900)
    state.put("event/b", b"B")
    Refusing(state)
    with capture_logs() as logs:
        state.close()
    assert {line["event"] for line in logs} == {"state_not_written"}
    assert world.failures == []
    state, covered, warm = world.open(AT_900)
    assert (covered, warm, state.get("event/b")) == (900, True, None)
    state.close()


def test_what_the_ledger_has_forgotten_is_forgotten_but_open_intents(world: World) -> None:
    """No clock says so, only the offset at which the ledger begins."""
    state = world.written().state
    state.save(900)
    state.trim(901)
    for number in range(2_000):
        state.put(f"event/{number}", b"new")
        if number % 100 == 99:
            state.save(1_000 + number)
    assert [state.get("event/a"), state.get("user/u"), state.claims(7)] == [None, None, False]
    assert state.get("intent/l") == b"I"
    assert all(state.get(f"event/{number}") == b"new" for number in range(2_000))
    state.close()


def test_what_is_new_is_not_forgotten_where_its_offset_is_not_known(world: World) -> None:
    """Of a record that Kafka got twice nobody learns the offset; nor is the store's own lost."""
    state = world.written().state
    state.save(900)
    state.trim(950)
    for number in range(2_000):
        state.put(f"event/{number}", b"new")
        if number % 100 == 99:
            state.save(None)
    assert state.get("event/a") is None
    assert all(state.get(f"event/{number}") == b"new" for number in range(2_000))
    state.close()
    opened = world.open(AT_900)
    assert (opened.covered, opened.warm) == (900, True)
    opened.state.close()


def test_nobody_else_can_read_what_lies_on_disk(world: World) -> None:
    """It is personal data."""
    world.written().state.close()
    for folder in (world.folder, world.folder.parent, world.folder.parent.parent):
        assert folder.stat().st_mode & 0o077 == 0
    shutil.rmtree(world.directory)


MUCH = replace(PART, end=1_000_000)


def much(count: int) -> list[tuple[bytes, bytes | None, int | None]]:
    """Keys that come again, changed or deleted, with claims in between."""
    dice = Random(3)
    return [
        (
            f"event/{dice.randrange(count // 3)}".encode(),
            None if number % 5 == 0 else b"%d" % number,
            number if number % 7 == 0 else None,
        )
        for number in range(count)
    ]


def fold_much(state: StateStore, records: list[tuple[bytes, bytes | None, int | None]]) -> None:
    for at in range(0, len(records), 700):
        state.apply_changelog(records[at : at + 700], min(at + 700, len(records)))


@pytest.mark.parametrize("killed_at", [None, 30_000])
def test_the_bulk_of_a_restore_is_the_same_fold(world: World, killed_at: int | None) -> None:
    """A large ledger is written in another way until its end, and read as ever after it."""
    records, memory = much(60_000), InMemoryStateStore()
    fold_much(memory, records)
    state = world.open(MUCH).state
    if killed_at is not None:
        fold_much(state, records[:killed_at])
        state.close()
        opened = world.open(MUCH)
        assert opened.warm
        assert opened.covered >= killed_at
        state = opened.state
    fold_much(state, records)
    state.save(60_000)
    keys = [f"event/{number}" for number in range(20_000)]
    assert [state.get(key) for key in keys] == [memory.get(key) for key in keys]
    assert all(state.claims(number) == memory.claims(number) for number in range(500))
    state.close()
    opened = world.open(MUCH)
    assert opened.covered == 60_000
    opened.state.close()


def test_a_restore_waits_for_a_disk_that_is_behind(world: World) -> None:
    """What RocksDB would have let wait is written a moment later, and nobody is told."""
    state = world.open(MUCH).state
    assert isinstance(state, RocksDbStateStore)
    disk = Refusing(state, "Result incomplete: Write stall", times=3)
    with capture_logs() as logs:
        state.apply_changelog([(b"event/a", b"A", None)], 10)
    assert (logs, disk.times, world.failures) == ([], 0, [])
    state.save(10)
    assert state.get("event/a") == b"A"
    state.close()
