"""A second run in CI, for what a machine may do to a test and for nothing else.

A test marked `timing` that fails is run once more with ``--rerun-timing``. No verdict is asked for
twice: what an oracle complains of, or the simulation or the model finds, is so at first sight.
"""

from collections.abc import Iterator
from functools import partial

import pytest

TIMING = "timing"
VERDICTS = {"OracleError", "ViolationError"}
"""Errors, by name, that say that the guarantee does not hold."""
EXACT = {"model", "simulation"}
"""Folders whose tests know no time: what fails there would fail again."""

_settled = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rerun-timing",
        action="store_true",
        help="run a test that is marked `timing` once more if it fails, unless an oracle complains",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the marked ones be run again.

    Raises:
        pytest.UsageError: a mark has no reason, or its test is none for it.
    """
    for item in items:
        for mark in item.iter_markers(TIMING):
            check(item, mark)
            if config.getoption("rerun_timing"):
                may = partial(may_run_again, item)
                item.add_marker(pytest.mark.flaky(reruns=1, condition=may))


def check(item: pytest.Item, mark: pytest.Mark) -> None:
    """Let no mark be without its reason, nor where a second run says nothing."""
    if not mark.kwargs.get("reason"):
        raise pytest.UsageError(f"{item.nodeid}: `timing` needs a reason")
    if EXACT & set(item.path.parts):
        raise pytest.UsageError(f"{item.nodeid}: `timing`, but nothing there depends on time")
    if hasattr(getattr(item, "function", None), "scenario"):
        raise pytest.UsageError(f"{item.nodeid}: `timing`, but a crowd's tests run only once")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Remember a verdict, in whatever phase of the test it came."""
    if call.excinfo is not None and is_verdict(call.excinfo.value):
        item.stash[_settled] = True
    return (yield)


def is_verdict(error: BaseException) -> bool:
    """Whether an error, or what it came of, is the verdict of an oracle."""
    return any(VERDICTS & {kind.__name__ for kind in type(one).__mro__} for one in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that it came of."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from causes(one)
        error = error.__cause__ or error.__context__


def may_run_again(item: pytest.Item, error: BaseException | None) -> bool:
    """Whether a failure may have been the machine's."""
    return not item.stash.get(_settled, False)
