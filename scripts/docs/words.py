"""Descriptions of names that have no text in the code: halt reasons, answers, exit codes, paths."""

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
        "the schema registry does not reply, and a record needs an unknown schema",
        "yes, when the registry replies",
    ),
    "unknown_schema": (
        "the schema registry does not know a record's schema id",
        "yes, when the schema is registered; after `SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S` its records "
        "become dead letters",
    ),
    "overstretched": (
        "100,000 records were read after an unsettled one",
        "yes, when that one is settled",
    ),
    "paused": (
        "an operator holds the input: `wootric-stream pause`. It is logged as `input_paused`, and "
        "[WootricInputPaused](../runbooks/WootricInputPaused.md) is the alert",
        "no: [resume](../how-to/operate/pause.md)",
    ),
}
"""Each reason: what happened, and whether the partition resumes automatically."""

ANSWERS: Mapping[str, str] = {
    "not_found": "another path than `/v1/events`",
    "method": "another method than POST",
    "media_type": "the content type is not `application/json` in UTF-8 or ASCII",
    "encoding": "the content encoding is neither gzip (x-gzip) nor identity",
    "signature": "`X-Signature` is missing or does not match, or an array is signed by its first "
    "event only (`BRIDGE__UNSIGNED_BATCH_ITEMS`), or this event is larger than 32 KB",
    "too_large": "the body, before or after decompression, is larger than 500 KB, or has more than 2,500 "
    "events or gzip members, or is larger than 32 KB and 100 times its gzip",
    "too_slow": "the body did not arrive within `BRIDGE__BODY_TIMEOUT_S`",
    "broken_off": "the body ended before its declared length",
    "undecodable": "the gzip body cannot be decompressed",
    "not_json": "the body is not JSON",
    "invalid_event": "the body is JSON, but neither an event nor an array with events",
    "too_old": "every event has a `sentAt`, without it a `receivedAt`, more than `BRIDGE__MAX_AGE_S` ago, "
    "or neither",
    "busy": "too many bytes are in flight, of this address or in all (`BRIDGE__IN_FLIGHT_BYTES_MAX`)",
    "unavailable": "Kafka did not acknowledge within `BRIDGE__ACK_TIMEOUT_S`; some events may be "
    "in Kafka",
}
"""Why the bridge rejects a request."""
REPEATED = {408, 503}
"""Statuses after which Segment retries, for four hours."""

EXITS: Mapping[int, str] = {
    0: "success; after SIGTERM: requests in flight are finished and committed",
    1: "failed: a topic to fix, a line that is not JSON, a demo or `verify` that does not agree, "
    "nothing found, a test person that cannot be created or deleted, or an unexpected error",
    2: "invalid command line",
    66: "a file cannot be read or written",
    69: "Kafka, the schema registry, a port or, for `doctor`, Wootric is unavailable",
    75: "temporary: another worker has the instance id, Kafka is not ready, or for `run` and `bridge` its client "
    "failed permanently, state on disk cannot be read or written, or workers must be stopped first. Restart",
    77: "Kafka or Wootric refuses the credentials, or a permission is missing",
    78: "settings, topics or schemas are wrong; the message names all of them",
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
        "503 when the event loop has not run for 15 s (`run`) or Kafka was not polled for 60 s",
    ),
    "/readyz": (
        "`run`, `bridge`, `lag-exporter`",
        "`run`: 200 after the worker has joined the group (with or without partitions) and while no "
        "ledger is being restored, until draining starts. An outage of Wootric does not change it. `bridge`: 200 until draining "
        "starts; an outage of Kafka does not change it. `lag-exporter`: 200 after the first "
        "measurement",
    ),
    "/startupz": ("`run`, `bridge`, `lag-exporter`", "200 once it has started"),
    "/status": (
        "`run`",
        "JSON: a summary in one sentence, throughput, lag, requests in doubt, open circuits with "
        "their reasons, halted and paused partitions, last dead letters",
    ),
    "/": ("`run`", "`/status` as a live page"),
}
"""Paths on HTTP__PORT: the commands that serve them, and the response."""
