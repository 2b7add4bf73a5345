"""Dashboards and rules ask only for what is there: a real Prometheus scrapes the real service."""

import asyncio
import hashlib
import hmac
import importlib.util
import json
import re
import sys
from pathlib import Path

import aiohttp
import promql_parser
import pytest
import yaml
from alert_cases import growing
from prometheus import Prometheus
from rendering import CHART, one, render
from stack import Stack, free_port
from test_rules import FILES, RULES, labelled, promtool

from scripts import dashboards
from scripts.dashboards.others import exported, others, series
from scripts.dashboards.panels import scoped
from stream.devtools.traffic import traffic
from stream.devtools.wootric_emulator.faults import Answer, Drop

MADE = {path.stem: json.loads(path.read_text()) for path in (CHART / "files/dashboards").glob("*")}
PANELS = [
    pytest.param(board, panel, id=f"{name}-{panel['title']}")
    for name, board in MADE.items()
    for panel in board["panels"]
]
VARIABLES = {"$__rate_interval": "10s", "$namespace": "surveys", "$job": "surveys/wootric"}

EMPTY_WHEN_HEALTHY = {
    'wootric_consumer_halted_partitions{reason="dead_letters"}': "no series before the first halt",
    'wootric_log_events_total{event="ended",level="error"}': "none before something is logged",
    'wootric_sink_circuit_opened_total{circuit="api",reason="forbidden"}': "none before one opens",
    'wootric_sink_rate_remaining{host="api"}': "none before Wootric says it",
    'wootric_sink_rate_limit{host="api"}': "none before Wootric says it",
    'wootric_sink_token_refusals_total{error="invalid_client"}': "none before a refusal",
    'wootric_bridge_refused_total{reason="too_large"}': "none before a refusal",
    'wootric_bridge_produce_errors_total{error="_TIMED_OUT"}': "none before an error",
    'wootric_bridge_records_total{outcome="forwarded"}': "only with --from-topic",
    'wootric_bridge_transactions_total{outcome="committed"}': "only with --from-topic",
    'wootric_bridge_lag_records{topic="t",partition="0"}': "only with --from-topic",
}
"""What a healthy service does not have; promtool asks those queries in a world that has it."""
OF_PROMETHEUS = {"up", "scrape_duration_seconds"}
OF_THE_PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "python_gc_collections_total",
}
BRIDGE = importlib.util.find_spec("stream.bridge")
UNBORN = () if BRIDGE else ("wootric_bridge_",)
"""Of the bridge, until it is there."""

every_panel = pytest.mark.parametrize(("board", "panel"), PANELS)


def test_the_json_is_in_step_with_the_code():
    """`make chart` writes it."""
    files = dashboards.files()
    assert {file.stem for file in files} == set(MADE)
    for file, content in files.items():
        assert file.read_text() == content, f"{file.name}: run `make chart`"


def test_dashboards_are_found_and_cannot_be_edited_away():
    uids = [board["uid"] for board in MADE.values()]
    assert len(set(uids)) == len(uids)
    for board in MADE.values():
        assert board["uid"].startswith("wootric-")
        assert board["editable"] is False
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names == ["datasource", "namespace", "job"]


@every_panel
def test_a_panel_can_be_read(board, panel):
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    titles = [other["title"] for other in board["panels"]]
    assert titles.count(panel["title"]) == 1


@every_panel
def test_a_query_is_scoped_and_counts_by_the_scrapes_interval(board, panel):
    for target in panel["targets"]:
        selectors = list(selectors_of(expression(target["expr"])))
        assert selectors
        for selector in selectors:
            assert 'namespace=~"surveys"' in selector, selector
            assert 'job=~"surveys/wootric"' in selector, selector
        for window in re.findall(r"\[([^\]]+)\]", target["expr"]):
            assert window in {"$__rate_interval", "1h", "1d"}, window


def expression(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def selectors_of(query: str) -> set[str]:
    """Return the vector selectors of a query, without their ranges."""
    promql_parser.parse(query)  # or a wrong one would look like none
    names = r"\b(?:wootric_|job:|job_|instance:|process_|python_|up\b|scrape_duration)[\w:]*"
    return set(re.findall(rf"{names}(?:\{{[^}}]*\}})?", without_groupings(query)))


def without_groupings(query: str) -> str:
    query = re.sub(r"\b(?:by|without|ignoring|on|group_left|group_right)\s*\([^)]*\)", "", query)
    return re.sub(r"label_\w+\([^)]*\)", "", query)


def name_of(selector: str) -> str:
    return selector.partition("{")[0]


def known() -> set[str]:
    """Return the names that the service exports and the rules record."""
    found = OF_PROMETHEUS | OF_THE_PROCESS | {rule["record"] for rule in RULES if "record" in rule}
    for metric in exported():
        found |= series(metric)
    return found


def test_nothing_is_asked_for_that_nobody_exports():
    queries = [
        expression(t["expr"]) for b in MADE.values() for p in b["panels"] for t in p["targets"]
    ]
    queries += [str(rule["expr"]) for rule in RULES]
    asked = {name_of(selector) for query in queries for selector in selectors_of(query)}
    assert len(asked) > 20
    assert {name for name in asked - known() if not name.startswith(UNBORN)} == set()


def test_every_metric_is_on_a_dashboard_or_in_a_rule():
    """One that nobody looks at is noise, or a panel is missing."""
    text = "\n".join(path.read_text() for path in (*CHART.glob("files/dashboards/*"), *FILES))
    unused = {metric._name for metric in exported() if not any(n in text for n in series(metric))}
    assert unused == set()


def test_a_metric_that_nobody_placed_has_a_panel_all_the_same():
    """`make chart` makes it, so that a new metric can be looked at before somebody places it."""
    made = others([], "")
    assert made
    shown = {panel.says for row in made.rows for panel in row}
    assert shown == {metric._documentation for metric in exported()}
    for row in made.rows:
        for panel in row:
            for query in panel.queries.values():
                promql_parser.parse(expression(scoped(query)))


def test_the_chart_ships_the_dashboards():
    documents = render("--set", "metrics.dashboards.enabled=true")
    config = one("ConfigMap", documents, "-dashboards")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    shipped = {name: json.loads(text) for name, text in config["data"].items()}
    assert shipped == {f"wootric-{name}.json": board for name, board in MADE.items()}


# Live


async def test_every_query_is_answered_by_a_prometheus_that_scrapes_the_service(
    stack: Stack, tmp_path: Path
) -> None:
    """Each panel's queries, each recording rule, and each selector of each alert."""
    first, second = stack.worker("w1"), stack.worker("w2")
    first.start()
    await first.until_logged("partition_opened")
    second.start()
    exporter = stack.worker("lag", command=LAG_EXPORTER)
    exporter.start()
    targets = {"w-1": first.port, "w-2": second.port, "lag-exporter": exporter.port}
    if BRIDGE:
        targets["bridge"] = await bridge(stack)
    with Prometheus(tmp_path, FILES, targets) as prometheus:
        await second.until_ready()
        await asyncio.to_thread(prometheus.until_scraping)
        await trouble(stack)
        await stack.until_caught_up()
        await asyncio.to_thread(prometheus.until_seen)
        assert not [one for one in prometheus.targets() if one["health"] != "up"]
        assert not [rule for rule in prometheus.rules() if rule["health"] != "ok"]
        empty = {}
        for name, board in MADE.items():
            for panel in board["panels"]:
                for target in panel["targets"]:
                    query = within(expression(target["expr"]))
                    may_be_empty = excused(query) or unborn(query) or unplaced(name, query)
                    if not may_be_empty and not prometheus.query(query):
                        empty[f"{name}: {panel['title']}"] = query
        for rule in RULES:
            for selector in selectors_of(str(rule["expr"])):
                query = f"last_over_time({selector}{PAST})"
                if not prometheus.query(query) and not excused(query) and not unborn(query):
                    empty[rule.get("alert", rule.get("record"))] = query
            if "record" in rule and not prometheus.query(rule["record"]):
                empty[rule["record"]] = rule["expr"]
        assert empty == {}
        firing = {sample["metric"]["alertname"] for sample in prometheus.query(FIRING)}
        assert firing - MAY_FIRE == set()


async def bridge(stack: Stack) -> int:
    """Start a bridge that Segment has sent something; return the port of its metrics."""
    command = (sys.executable, "-m", "stream", "bridge")
    port = free_port()
    settings = {
        "BRIDGE__PORT": str(port),
        "BRIDGE__SHARED_SECRET": "a-secret-of-tests",
        "BRIDGE__ACK_TIMEOUT_S": "60",
    }
    process = stack.worker("bridge", command=command, **settings)
    process.start()
    await process.until_ready()
    body = json.dumps({"type": "identify", "messageId": "b1", "userId": "b", "traits": {}}).encode()
    signature = hmac.new(b"a-secret-of-tests", body, hashlib.sha1).hexdigest()
    url = f"http://127.0.0.1:{port}/v1/events"
    headers = {"X-Signature": signature, "Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(url, data=body, headers=headers) as reply:
                assert reply.status == 200
            await asyncio.sleep(1)
    return process.port


def unborn(query: str) -> bool:
    """Tell whether a query is of a program that is not there yet."""
    return any(name_of(one).startswith(UNBORN) for one in selectors_of(query) if UNBORN)


LAG_EXPORTER = (sys.executable, "-m", "stream", "lag-exporter", "--every", "1")
PAST = "[1h]"
"""Longer than the test takes on any machine."""
FIRING = 'ALERTS{alertstate="firing"}'
MAY_FIRE = {"WootricWatchdog", "WootricParkedEvents"}


async def trouble(stack: Stack) -> None:
    """Some of everything: kinds, bad input, throttling, lost replies, in several scrapes."""
    wootric = stack.wootric
    wootric.on("GET", "/pixel.gif", Drop(effect=True))
    wootric.on("*", "/v1/*", Answer(status=429, headers={"Retry-After": "1"}))
    wootric.on("*", "/v1/*", Drop(effect=True))
    samples = [sample.value for sample in traffic(events=600, seed=5, users=80)]
    for start in range(0, len(samples), 100):
        bad = [
            b"no avro",
            {**samples[start], "traits": {"createdAt": "no date", "email": "a@b.co"}},
        ]
        await asyncio.to_thread(stack.publish, [*samples[start : start + 100], *bad])
        await asyncio.sleep(1)


def within(query: str) -> str:
    """Look back over the test: what was counted a moment ago may be still now."""
    return query.replace("[10s]", PAST)


def excused(query: str) -> bool:
    """Tell whether a query is empty while all is well."""
    asked = {name_of(selector) for selector in selectors_of(query)}
    return bool(asked & {name_of(one) for one in EMPTY_WHEN_HEALTHY})


def unplaced(board: str, query: str) -> bool:
    """Tell whether a query was made by no hand, of a metric without series at the start."""
    asked = {name_of(selector) for selector in selectors_of(query)}
    labelled_ones = {name for metric in exported() if metric._labelnames for name in series(metric)}
    return board == "others" and asked <= labelled_ones


def test_what_is_empty_when_healthy_is_answered_when_it_is_not(tmp_path: Path) -> None:
    queries = {
        within(expression(target["expr"]))
        for board in MADE.values()
        for panel in board["panels"]
        for target in panel["targets"]
    }
    asked = sorted(filter(excused, queries))
    assert len(asked) >= len(EMPTY_WHEN_HEALTHY)
    worlds = labelled(dict.fromkeys(EMPTY_WHEN_HEALTHY, growing(1)), job="surveys/wootric")
    world = {
        "interval": "10s",
        "input_series": [{"series": name, "values": values} for name, values in worlds.items()],
        "promql_expr_test": [
            {"expr": f"absent({query})", "eval_time": "5m", "exp_samples": []} for query in asked
        ],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [world]}))
    result = promtool("test", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
