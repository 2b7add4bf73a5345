"""The generated pages of docs/reference."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from scripts.docs import code_facts, reasons, sources, words
from scripts.docs.markdown import cell, code, page, table

HEADER = ("setting", "default", "bounds", "meaning")


def settings() -> str:
    """Every setting, by section."""
    parts = [
        "All settings come from the environment. An unknown name that starts with one of the "
        "prefixes is an error, and the message suggests the right name. `wootric-stream settings` prints "
        "this list, and shows which are set.\n\n"
        "`WOOTRIC__ACCOUNT_TOKEN` is required, and either client id and secret or user name and "
        "password. `WOOTRIC__LEASE_S` must be at least four times `KAFKA__COMMIT_INTERVAL_S`.\n\n"
        "**Files.** Settings marked with † may be in a file: append `_FILE` to the name and give "
        "the path. See [rotate secrets](../how-to/operate/rotate-secrets.md)."
    ]
    for section, (about, rows) in sources.settings().items():
        body = (
            (
                f"`{row.name}`{' †' if row.may_be_in_a_file else ''}",
                "required" if row.required else code(row.default),
                code(row.bounds),
                cell(row.meaning),
            )
            for row in rows
        )
        parts.append(f"## {section}\n\n{about}\n\n{table(HEADER, body)}")
    return page("Settings", *parts)


def exit_codes() -> str:
    """Every exit code."""
    _same(set(words.EXITS), code_facts.exit_codes(), "exit codes")
    body = ((str(number), meaning) for number, meaning in words.EXITS.items())
    return page(
        "Exit codes",
        "They follow sysexits. A supervisor may restart after 69 and 75. 77 and 78 need a change.",
        table(("exit code", "meaning"), body),
    )


def http() -> str:
    """Every path of HTTP__PORT and of the webhook."""
    _same(set(words.PATHS), code_facts.http_paths(), "HTTP paths")
    body = ((code(path), who, what) for path, (who, what) in words.PATHS.items())
    return page(
        "HTTP paths",
        "On `HTTP__PORT`, GET only. With `HTTP__BEARER_TOKEN` every path but the probes (`/livez`, "
        "`/readyz`, `/startupz`) needs `Authorization: Bearer <token>`, and answers 401 otherwise:",
        table(("path", "served by", "answers"), body),
        "On `BRIDGE__PORT`, `bridge` serves `POST /v1/events`: see "
        "[bridge answers](bridge-answers.md).",
    )


def metrics() -> str:
    """Every metric, by the command that serves it."""
    intro = {
        "run": "Served by every worker. A worker reports its own partitions only.",
        "lag-exporter": "`wootric-stream lag-exporter` measures from outside and is no member of "
        "the group; one per group is sufficient.",
        "bridge": "Served by every bridge.",
    }
    parts = [
        "On `HTTP__PORT` at `/metrics`. The metrics of the process come in addition: `process_*`, "
        "`python_info`, `python_gc_*`."
    ]
    for command, rows in sources.metrics().items():
        body = (
            (code(row.name), row.kind, ", ".join(map(code, row.labels)), cell(row.meaning))
            for row in rows
        )
        listed = table(("metric", "type", "labels", "meaning"), body)
        parts.append(f"## {command}\n\n{intro[command]}\n\n{listed}")
    return page("Metrics", *parts)


def log_events() -> str:
    """Every log event."""
    events = sources.log_events()
    _same({(name, level) for name, level, _, _ in events}, code_facts.logged(), "log events")
    body = ((code(name), level, cell(when), cell(then)) for name, level, when, then in events)
    return page(
        "Log events",
        "The field `event` of a log line has one of these ids. "
        "[Read the logs](../how-to/observe/logs.md) explains the other fields.",
        table(("event", "level", "when", "what to do"), body),
    )


def outcomes() -> str:
    """Every outcome and reason."""
    body = (
        (outcome, code(reason), cell(meaning), cell(then))
        for outcome, reason, meaning, then in reasons.rows()
    )
    return page(
        "Outcomes and reasons",
        "`wootric_records_settled_total{outcome,reason}` counts them. Rejected events are in the "
        "dead-letter topic and parked events in the parked topic, with the reason in the header "
        "`x-reason`: see [dead letters and parked events](letters.md).",
        table(("outcome", "reason", "meaning", "what to do"), body),
        "## Notes\n\n`wootric_invalid_fields_total{note}` counts values that are left out without rejecting their "
        "event; `transform --explain` names them.\n\n"
        + table(
            ("note", "meaning"),
            ((code(note), cell(told)) for note, told in reasons.notes().items()),
        ),
    )


def halt_reasons() -> str:
    """Why a partition halts."""
    _same(set(words.HALTS), set(sources.halt_reasons()), "halt reasons")
    body = ((code(name), *words.HALTS[name]) for name in sources.halt_reasons())
    return page(
        "Halt reasons",
        "A halted partition is not read; the others continue. Nothing is lost while the input "
        "keeps its records. `/status` and the log event `partition_halted` have the details. What "
        "to do: [WootricPartitionHalted](../runbooks/WootricPartitionHalted.md).",
        table(("reason", "what happened", "resumes automatically"), body),
    )


def bridge_answers() -> str:
    """What the bridge answers."""
    refusals = sources.bridge_refusals()
    _same(set(words.ANSWERS), set(refusals), "answers of the bridge")
    ordered = sorted(refusals.items(), key=lambda item: item[1])
    body = [
        (
            str(status),
            code(reason),
            cell(words.ANSWERS[reason]),
            "yes" if status in words.REPEATED else "no: the events are lost for the pipeline",
        )
        for reason, status in ordered
    ]
    body.insert(0, ("200", "", "Kafka has every event of the request. `accepted` counts them", ""))
    body.append(("500", "", "a bug; the log event `request_failed` has the place", "no"))
    return page(
        "Bridge answers",
        "`POST /v1/events`. Unless the status is 200 or 503, no event of the request was accepted. "
        "`wootric_bridge_refused_total{reason}` counts rejected requests. 503 has `Retry-After`.",
        table(("status", "reason", "meaning", "Segment retries"), body),
        "An event that breaks a rule of Segment does not refuse its request: it becomes a "
        "[dead letter](letters.md#dead-letters-of-the-bridge), with the reason `invalid_event`, "
        "`too_large` or `too_old`, and the others pass. The answer then has `rejected`, the number of such "
        "events, and of the first one its index, `event`, and the rule, `detail`. "
        "`wootric_bridge_events_rejected_total{reason}` counts them. "
        "`Expect: 100-continue` is answered as soon as the head is accepted.",
        "Some connections are closed without an answer: `wootric_bridge_connections_closed_total{cause}` "
        "counts them. [Before the signature](../explanation/bridge.md#before-the-signature) has the "
        "bounds.",
    )


def alerts() -> str:
    """Every alert."""
    body = (
        (
            f"[{rule['alert']}](../runbooks/{rule['alert']}.md)",
            rule["labels"]["severity"],
            rule.get("for", ""),
            cell(_plain(rule["annotations"]["summary"])),
            code(rule["expr"]),
        )
        for rule in sources.alerts()
    )
    return page(
        "Alerts",
        "`page` requires action now, `ticket` in working hours. Each alert links to its runbook. The "
        "rules are in `helm/wootric-destination/files/rules/`; metrics with colons are recorded "
        "there.",
        table(("alert", "severity", "for", "summary", "expression"), body),
    )


def runbooks() -> str:
    """The list of runbooks."""
    body = (
        (
            f"[{rule['alert']}]({rule['alert']}.md)",
            rule["labels"]["severity"],
            cell(_plain(rule["annotations"]["summary"])),
        )
        for rule in sources.alerts()
    )
    return page(
        "Runbooks",
        "One page per alert: meaning, impact, first look, fix, verify, escalate.",
        "## Where commands run\n\n"
        "From your own machine, with `kubectl` for the cluster. `NAMESPACE` is the alert's "
        "namespace, `RELEASE` the name of the StatefulSet, such as `wootric-wootric-destination`, "
        "and `HELM_RELEASE` the name in `helm list`. `wootric-stream` runs in the pod "
        "`RELEASE-toolbox`, which has a login and memory of its own: a worker has neither to "
        "spare. Numbers, reasons and secrets in the commands are examples. `kafka-*.sh` are "
        "Kafka's own tools, with your brokers for `BROKERS`.\n\n"
        "`/status` is `http://POD:8080/status` (by `kubectl port-forward`); the page at `/` shows "
        "the same.",
        "## Alerts\n\n" + table(("alert", "severity", "summary"), body),
    )


def dashboards() -> str:
    """Every dashboard with its panels."""
    parts = ["Installed by `metrics.dashboards.enabled`. Grafana shows the descriptions too."]
    for board in sources.dashboards():
        body = (
            (cell(panel["title"]), cell(panel["description"]))
            for panel in board["panels"]
            if panel.get("description")
        )
        parts.append(f"## {board['title']}\n\n{table(('panel', 'shows'), body)}")
    return page("Dashboards", *parts)


def chart_values() -> str:
    """Every value of the chart."""
    body = (
        (code(path), default.replace("|", r"\|"), cell(told))
        for path, default, told in sources.chart_values()
    )
    return page(
        "Chart values",
        "Values of the chart `helm/wootric-destination`. A name that is not in this table fails the "
        "install, and so does an unknown setting under `settings`.",
        table(("value", "default", "meaning"), body),
    )


def topics() -> str:
    """The four topics."""
    body = (
        (code(plan.name), plan.role, ", ".join(code(f"{k}={v}") for k, v in plan.config.items()))
        for plan in sources.topic_plans()
    )
    return page(
        "Topics",
        "As created by `topics create` with the defaults. It gives all four the same number of "
        "partitions, up to three replicas, and `min.insync.replicas=2` with three. A new input gets "
        "`retention.ms` of a day less than `KAFKA__DEDUPE_WINDOW_S` and `segment.ms` of an hour. "
        "Existing topics are left as they are; `topics check` reports what does not fit.",
        table(("topic", "role", "configuration"), body),
        "What must hold: the ledger has as many partitions as the input, is compacted, and keeps "
        "entries for the dedupe window without `retention.bytes`. The input keeps records for less "
        "(`retention.ms` + `segment.ms`). Dead letters and parked events take the input's largest "
        "record and 64 KiB of headers. Input, dead letters and parked events are not compacted: of "
        "one user's records only the last would survive, and records without a key are refused.",
    )


def schemas() -> str:
    """Every field of the Avro schemas."""
    parts = ["The files are in `schemas/avro/`; its README has fingerprints and rules for changes."]
    for name, schema in sources.schemas().items():
        body = ((code(where), code(kind), cell(doc)) for where, kind, doc in _fields(schema, ""))
        parts.append(f"## {name}\n\n{schema['doc']}\n\n{table(('field', 'type', 'content'), body)}")
    return page("Schemas", *parts)


MAPPING = """\
* **Names**: the exact name wins. If it is absent, case and ASCII punctuation do not count: `E-Mail` is `email`. Letters of every script are
  letters: `担当email` is another name. `score`, `feedbackScore`, `text` and `feedbackText` of a survey match exactly or not at all.
* **Traits** of an identify are in `traits`, and below these in `context.traits`; those of other calls are in `context.traits`.
* **E-mail**: that of the traits, otherwise a user id that looks like one, otherwise for a track `properties.email`. For a delete the `email`
  at the top level comes first. Blanks around e-mails and phone numbers are dropped.
* **`[]` is an empty object** where an object belongs: PHP writes it so.
* **`integrations`**: only the key `Wootric`, in this spelling, enables or disables, as with Segment. `{"WOOTRIC": false}` changes nothing; the
  note `ignored_integration` counts it, and `transform --explain` names it.
* **Page views probably have no effect.** Wootric removed the pixel from its own documents in 2018 and asked Segment to remove it in
  2019; probably nobody reads it. Page calls go there because Segment's destination did so. `WOOTRIC__PAGE_VIEWS=off` skips them with
  the reason `page_views_off`.
* **Names that end in `_date` or `_amount` hold whole numbers only**, case-sensitive; Wootric refuses the whole write otherwise. Another
  value under such a name gets the name with `_text` behind it. This applies to the properties of surveys too.
* **Properties of a response or decline are sent by a PUT before it**, where they differ from what Wootric holds: Wootric queues surveys,
  and a queued property could replace a newer one.
* **A response or decline without any time has the time of its Kafka record**, so that two of them can be distinguished.
* **`survey[unique_link]`** is derived from the request and is the same on every attempt."""


def mapping() -> str:
    """What each call becomes: the golden cases."""
    by_kind: dict[str, list[Any]] = {}
    for case in sources.cases("transform"):
        by_kind.setdefault(case["name"].partition(":")[0], []).append(case)
    parts = [
        "Each row is a test case of `tests/cases/transform.json` or `tests/cases/requests.json`. "
        "`messageId` and `type` are left out of the events. To see your own event use "
        "`wootric-stream transform --explain`. Dates: [dates](dates.md).",
        MAPPING,
    ]
    requests = (
        (
            cell(case["name"]),
            _event(case["event"], "messageId"),
            " ".join(code(request) for request in case["requests"]),
        )
        for case in sources.cases("requests")
    )
    parts.append("## Requests\n\n" + table(("case", "event", "requests"), requests))
    for kind, cases in by_kind.items():
        body = (
            (
                cell(case["name"].partition(": ")[2]),
                cell(case["why"]),
                _event(case["event"], "messageId", "type") + _rules(case),
                _result(case["expected"]),
            )
            for case in cases
        )
        parts.append(f"## {kind}\n\n" + table(("case", "why", "event", "becomes"), body))
    return page("Mapping", *parts)


def dates() -> str:
    """How createdAt is read: the golden cases."""
    body = (
        (
            code(orjson.dumps(case["createdAt"]).decode()),
            "" if case["seconds"] is None else str(case["seconds"]),
            code(case["note"] or ""),
        )
        for case in sources.cases("created_at")
    )
    return page(
        "Dates",
        "How `created` and `createdAt` are read: as Segment does, rounded half up to the second. "
        "Each row is a test case of `tests/cases/created_at.json`. With the note "
        "`invalid_created_at` the profile is sent without the time.",
        table(("`createdAt`", "seconds since 1970", "note"), body),
    )


def _same(documented: set[Any], found: set[Any], what: str) -> None:
    """Raise ValueError if the texts of this package and the code differ."""
    if documented != found:
        raise ValueError(f"{what} of the code and of scripts/docs differ: {documented ^ found}")


def _plain(summary: str) -> str:
    """Return a summary without the template's syntax."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"(\1)", summary)
    return re.sub(r"\{\{ \$value[^}]*\}\}", "N", text)


def _event(event: dict[str, Any], *left_out: str) -> str:
    kept = {name: value for name, value in event.items() if name not in left_out}
    return code(orjson.dumps(kept).decode())


def _rules(case: dict[str, Any]) -> str:
    rules = case.get("rules")
    return f" with {code(orjson.dumps(rules).decode())}" if rules else ""


def _result(expected: dict[str, Any]) -> str:
    outcome: str = expected["outcome"]
    notes = ", ".join(code(note) for note in expected.get("notes", ()))
    if outcome != "deliver":
        ends = {"skip": "skipped", "reject": "rejected"}
        return f"{ends[outcome]} {code(expected['reason'])} {notes}".rstrip()
    shown = code(orjson.dumps(expected["operation"]).decode()) if "operation" in expected else ""
    return " ".join(filter(None, (shown or "delivered", notes)))


def _fields(schema: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield (path, type, documentation) of every field below a schema."""
    match schema:
        case {"type": "record", "fields": fields, **rest}:
            inside = f"{path}{rest['name']}." if path else ""
            for field in fields:
                where = f"{inside}{field['name']}"
                yield where, _type(field["type"]), field["doc"]
                yield from _fields(field["type"], f"{where}.")
        case {"type": dict() | list() as inner}:
            yield from _fields(inner, path)
        case {"items": inner}:
            yield from _fields(inner, path)
        case list():
            for part in schema:
                yield from _fields(part, path)
        case _:
            pass


def _type(kind: Any) -> str:
    match kind:
        case list():
            shown = " or ".join(_type(part) for part in kind)
        case {"type": "array", "items": items}:
            shown = f"array of {_type(items)}"
        case {"type": "enum", "symbols": symbols}:
            shown = ", ".join(symbols)
        case {"type": "record", "name": name}:
            shown = str(name)
        case {"logicalType": logical}:
            shown = str(logical)
        case {"type": inner}:
            shown = _type(inner)
        case _:
            shown = str(kind)
    return shown
