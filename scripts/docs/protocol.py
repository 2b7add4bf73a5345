"""The pages generated from tests: faults, safeguards, the protocol's model."""

from collections.abc import Iterator, Mapping, Sequence

from scripts.docs import sources
from scripts.docs.markdown import cell, code, page, table

SOAK = """\
`make soak` injects many of these faults into three brokers and three workers at random times, for any duration. In half an hour
(`SOAK_MINUTES=30 make soak ARGS="--seed 17"`), 108,000 events met 418 faults. No event was lost or duplicated, 858 page
views were parked and 877 dead letters written as expected, and nothing was in doubt at the end. Everything was settled 0.6 s
after the last fault. The worker that is never killed held 129 MB at most, and grew by 0.78 MB per minute. Kafka's client ended one
worker by an assertion, and four ended with exit code 75; all were started again. That run had one block cache for all
partitions. With one each, the usual ten minutes (seed 15, 138 faults, nothing lost, nothing duplicated) grew by 0.58 MB per minute
to 105 MB at most, after 1.02 MB before."""


def faults() -> str:
    """Every fault that a test makes."""
    listed = sources.of_tests("fault_matrix", "FAULTS")
    body = (
        (
            str(number),
            cell(one.fault),
            cell(one.made_by),
            cell(one.expected),
            cell(one.result),
            ", ".join(map(code, one.tests)),
        )
        for number, one in enumerate(listed, 1)
    )
    missing = sources.of_tests("fault_matrix", "NOT_SHOWN")
    return page(
        "Faults",
        "Each row is a test. Unless the row says otherwise, the test compares what Wootric's "
        "emulator holds at the end with the published events: nothing lost, nothing duplicated, page "
        "views delivered or parked, one dead letter per bad record, no request in doubt. Kafka is a "
        "real one; a proxy on loopback breaks the network, by direction.",
        table(("#", "fault", "made by", "expected", "result", "test"), body),
        "## Everything at once",
        SOAK,
        "## Not shown by a test",
        table(("not shown", "why"), ((cell(what), cell(why)) for what, why in missing)),
    )


def safeguards() -> str:
    """Every safeguard, and every variant of the model."""
    body = (
        (cell(one.name), cell(one.without), ", ".join(map(code, one.tests)))
        for one in sources.of_tests("safeguards", "SAFEGUARDS")
    )
    model = (
        (cell(row.variant), str(row.kind), row.result) for row in sources.of_tests("rows", "ROWS")
    )
    return page(
        "Safeguards",
        "A test disables each safeguard and must then observe the harm: in the simulation a lost or "
        "duplicate effect, on a real Kafka a complaint of the oracle.",
        table(("safeguard", "without it", "test"), body),
        "## The protocol as a model",
        "`tests/model/protocol.py` is a model: two events of one user, three workers one after the "
        "other, every interleaving of takeover, death, sleep, lost and late requests, replies, "
        "effects and commits. `make model` explores each variant and prints the shortest way to "
        "the violation. The last two rows are what [the guarantee](guarantee.md) does not claim.",
        table(("variant of the protocol", "of a", "violation"), model),
        '`make simulate` runs any number of schedules (`ARGS="--schedules 1000000"`), also as '
        '`make soak ARGS="--schedules 1000000"`. A failing schedule reports its seed and the command '
        "that prints it step by step.",
    )


READINGS = """\
Where Wootric's documents leave something open, its emulator has a switch. The default is the reading that public evidence makes likely:
[compatibility with Wootric](../explanation/compatibility-with-wootric.md) has the evidence for each. The demo, the soak, the bench and
`wootric-stream emulator` use the defaults. `POST /_emulator/faults` with `{"behaviour": {"survey_reply": "record"}}` changes switches of a
running emulator."""

BY_NAME = (
    "`tests/faults`, `tests/integration`, `tests/operations` and `tests/chart`, where a worker runs"
)


def emulator_switches() -> str:
    """Every switch of the emulator, and the tests that run under its positions."""
    switches = sources.switches()
    likely, other = (sources.of_tests("readings", name) for name in ("LIKELY", "OTHER"))
    own = sources.tests_that_set([switch.name for switch in switches])
    drawn = sources.drawn_switches()
    readings = (
        (
            code(switch.name),
            code(_position(switch.default)),
            ", ".join(code(_position(one)) for one in switch.positions if one != switch.default),
            cell(switch.meaning),
            "yes" if switch.name in other else "",
            "yes" if switch.name in drawn else "",
            ", ".join(map(code, own[switch.name])),
        )
        for switch in switches
        if switch.positions or switch.name in other
    )
    values = (
        (code(switch.name), _value(switch.default), cell(switch.meaning))
        for switch in switches
        if not switch.positions and switch.name not in other
    )
    shorter = ", ".join(
        f"`{switch.name}` {_position(getattr(likely, switch.name))}"
        for switch in switches
        if getattr(likely, switch.name) != switch.default
    )
    return page(
        "Switches of the emulator",
        READINGS,
        "## Switches",
        "Column A: one of the readings of the contract tests, below, differs from their likely one in this switch. Column B: each "
        "schedule of the service simulation draws its position. The last column has the tests that set it themselves.",
        table(("switch", "default", "other positions", "meaning", "A", "B", "own tests"), readings),
        "## Values",
        "Times are in seconds. Without a limit every request is answered; without a credential any text is accepted for it.",
        table(("value", "default", "meaning"), values),
        "## Readings of the tests",
        f"The tests' likely reading is the default with times that a test can wait for: {shorter}. A test under a reading must "
        "have the same result under each.",
        table(("tests", "readings"), _readings_of_tests(other)),
    )


def _readings_of_tests(other: Mapping[str, Sequence[object]]) -> Iterator[tuple[str, str]]:
    name_of = sources.of_tests("readings", "reading_name")

    def tests_under(name: str) -> str:
        return ", ".join(map(code, sources.tests_under(name)))

    every, few = (
        f"{len(readings)}: {', '.join(code(name_of(one)) for one in readings)}"
        for readings in (
            sources.of_tests("readings", name) for name in ("ALL_READINGS", "FEW_READINGS")
        )
    )
    yield tests_under("READINGS"), f"in `make test-all` {every}; else {few}"
    yield tests_under("FEW_READINGS"), few
    otherwise = ", ".join(f"{name}={positions[0]}" for name, positions in other.items())
    yield (
        BY_NAME,
        f"one of two, `likely` or `all otherwise`; a checksum of the test's name decides. `all otherwise` is {code(otherwise)}",
    )
    yield "the simulation of the service", "each schedule draws the switches of column B"
    yield "all other tests", "the defaults, or what the test sets itself"


def _position(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(value: object) -> str:
    return "none" if value is None else code(str(value))


def decisions() -> str:
    """The list of decisions."""
    rows = []
    for path in sorted((sources.DOCS / "decisions").glob("0*.md")):
        title = sources.read(path).splitlines()[0].removeprefix("# ").partition(". ")[2]
        rows.append((path.name[:4], f"[{title}]({path.name})"))
    return page(
        "Decisions",
        "Each has the decision, the reason and the price.",
        table(("number", "decision"), rows),
    )
