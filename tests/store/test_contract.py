"""Both states by one contract: the same puts, the same answers, however they were interrupted."""

import shutil
import tempfile
from pathlib import Path

from common_store import World
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stream.state.ledger import EVENT, INTENT, USER
from stream.state.store import InMemoryStateStore, StateStore

KEYS = [f"{kind}{name}" for kind in (EVENT, INTENT, USER) for name in ("a", "b", "é", "a/b")]
IDS = [1, 2, 10, 2**63]
VALUES = st.none() | st.binary(max_size=40)
RECORD = st.tuples(st.sampled_from(KEYS), VALUES, st.none() | st.sampled_from(IDS))


class SameAnswers(RuleBasedStateMachine):
    """A ledger, one fold of it in memory, one on disk."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder / "state")
        self.before = self.folder / "before"
        self.log: list[tuple[str, bytes | None, int | None]] = []
        self.memory: StateStore = InMemoryStateStore()
        self.disk: StateStore = self.world.open().state
        self.disk.save(0)

    @rule(records=st.lists(RECORD, max_size=6), knows_end=st.booleans())
    def commit(self, records, knows_end) -> None:
        for record in records:
            for state in (self.memory, self.disk):
                state.put(*record)
        self.log += records
        for state in (self.memory, self.disk):
            state.save(len(self.log) if knows_end else None)

    @rule(loses=st.booleans(), again=st.integers(0, 10))
    def restart(self, loses, again) -> None:
        """The worker ends; or it is killed and has lost what it wrote since it began."""
        self.disk.close()
        if loses and self.before.exists():
            shutil.rmtree(self.world.folder)
            shutil.copytree(self.before, self.world.folder)
        shutil.rmtree(self.before, ignore_errors=True)
        shutil.copytree(self.world.folder, self.before)
        opened = self.world.open()
        assert opened.warm
        self.disk = opened.state
        # What is read anew may begin before what is covered.
        start = max(0, opened.covered - again)
        raw = [(key.encode(), value, number) for key, value, number in self.log[start:]]
        self.disk.apply_changelog(raw, len(self.log))
        self.disk.save(len(self.log))

    @invariant()
    def answers(self) -> None:
        assert [self.disk.get(key) for key in KEYS] == [self.memory.get(key) for key in KEYS]
        assert [self.disk.claims(one) for one in IDS] == [self.memory.claims(one) for one in IDS]
        assert self.disk.intents() == self.memory.intents()

    def teardown(self) -> None:
        self.disk.close()
        shutil.rmtree(self.folder)


SameAnswers.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
TestSameAnswers = SameAnswers.TestCase
