"""What the words of the code mean that have no text there: halts, answers, exit codes, paths."""

from collections.abc import Mapping

HALTS: Mapping[str, tuple[str, str]] = {
    "offset_out_of_range": (
        "the committed offset is not in the topic: retention deleted unread records, or the topic "
        "was created again",
        "no: [reset the offset](../how-to/operate/reset-offsets.md)",
    ),
    "ledger_missing": (
        "the ledger has fewer partitions than the input",
        "yes, once the ledger has the partition",
    ),
    "ledger_behind": (
        "the ledger ends before it did when the offset was committed: it was created again, "
        "truncated by an unclean election, or restored from a copy",
        "no: see [a lost ledger](../how-to/operate/disaster.md#a-lost-ledger)",
    ),
    "ledger_unreadable": (
        "a ledger entry was written by a newer version",
        "no: upgrade to that version",
    ),
    "dead_letters": (
        "most of the last events became dead letters (`KAFKA__DEAD_LETTER_LIMIT`)",
        "yes, after `KAFKA__DEAD_LETTER_PAUSE_S`",
    ),
    "registry_away": (
        "the schema registry does not answer, and a record needs an unknown schema",
        "yes, when the registry answers",
    ),
    "unknown_schema": (
        "the schema registry does not know a record's schema id",
        "yes, when the schema is registered; after `SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S` its records "
        "become dead letters",
    ),
    "overstretched": (
        "`KAFKA__OFFSET_GAP_MAX` records were read past one that still waits",
        "yes, when that one is settled",
    ),
}
"""Each reason: what happened, and whether the partition resumes by itself."""

ANSWERS: Mapping[str, str] = {
    "not_found": "another path than `/v1/events`",
    "method": "another method than POST",
    "media_type": "the content type is not `application/json` in UTF-8",
    "encoding": "the content encoding is neither gzip nor identity",
    "signature": "`X-Signature` is missing or does not match, or an array is signed by its first "
    "event only (`BRIDGE__UNSIGNED_BATCH_ITEMS`)",
    "too_large": "the body, or what it unpacks to, is larger than 500 KB, or has more than 2,500 events",
    "too_slow": "the body did not arrive within `BRIDGE__BODY_TIMEOUT_S`",
    "broken_off": "the body ended before its declared length",
    "undecodable": "the gzip body cannot be unpacked",
    "not_json": "the body is not JSON",
    "invalid_event": "an event breaks a rule of Segment; the answer has its index and the rule",
    "busy": "too many bytes are in flight (`BRIDGE__IN_FLIGHT_BYTES_MAX`)",
    "unavailable": "Kafka did not acknowledge within `BRIDGE__ACK_TIMEOUT_S`; some events may be "
    "in Kafka",
}
"""Why the bridge refuses a request."""
REPEATED = {408, 503}
"""What Segment repeats, for four hours."""

EXITS: Mapping[int, str] = {
    0: "done; after SIGTERM: finished, committed and left",
    1: "failed: a topic to fix, a line that is not JSON, a demo or `verify` that does not agree, "
    "nothing found, or an unexpected error",
    2: "wrong usage of the command line",
    66: "a file cannot be read or written",
    69: "Kafka, the schema registry or a port is unavailable",
    75: "temporary: another worker has the instance id, Kafka is not ready (`status`: unavailable), "
    "state on disk cannot be read, or workers must be stopped first. Start again",
    77: "Kafka or Wootric refuses the login, or a right is missing",
    78: "settings, topics or schemas are wrong; the message names what. Missing credentials are "
    "named once the required settings are set",
    130: "interrupted",
}
"""What each exit code means."""

PATHS: Mapping[str, tuple[str, str]] = {
    "/metrics": (
        "`run`, `bridge`, `lag-exporter`",
        "[metrics](metrics.md), in the format of Prometheus or OpenMetrics",
    ),
    "/livez": (
        "`run`, `bridge`, `lag-exporter`",
        "503 when the event loop has not turned for 15 s (`run`) or Kafka was not polled for 60 s",
    ),
    "/readyz": (
        "`run`, `bridge`, `lag-exporter`",
        "`run`: 200 once the group has taken the worker in (with or without partitions), until "
        "draining begins. An outage of Wootric does not change it. `bridge`: 200 until draining "
        "begins; an outage of Kafka does not change it. `lag-exporter`: 200 once it has measured",
    ),
    "/startupz": ("`run`, `bridge`, `lag-exporter`", "200 once it has started"),
    "/status": (
        "`run`",
        "JSON: a verdict in one sentence, throughput, lag, requests in doubt, open circuits with "
        "their reasons, halted partitions, last dead letters",
    ),
    "/": ("`run`", "the same as a live page"),
}
"""What answers on HTTP__PORT."""
