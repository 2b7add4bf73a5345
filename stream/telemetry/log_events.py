"""Catalogue of log events: every log line has one of these names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log event: name, level, description, and what an operator should do."""

    name: str
    level: str
    description: str
    action: str


EVENTS = (
    LogEvent("started", "info", "The worker starts and joins the group.", "nothing"),
    LogEvent(
        "rebalanced",
        "info",
        "Partitions were assigned, revoked or lost (`change`).",
        "nothing; if many in ten minutes: look for workers that restart",
    ),
    LogEvent(
        "partition_opened",
        "info",
        "A partition's ledger is restored and reading starts. `in_doubt` is the number of requests "
        "that its last owner left in doubt.",
        "nothing",
    ),
    LogEvent(
        "partition_halted",
        "error",
        "A partition is paused for the `reason` that `detail` explains.",
        "see `detail`",
    ),
    LogEvent("partition_resumed", "info", "A paused partition is read again.", "nothing"),
    LogEvent(
        "input_paused",
        "info",
        "The operator pauses a partition: `wootric-stream pause`.",
        "nothing; `wootric-stream resume` ends it",
    ),
    LogEvent("input_resumed", "info", "The operator resumes a partition.", "nothing"),
    LogEvent(
        "pauses_unknown",
        "warning",
        "A worker got no reply about the operator's pauses. What it knew stays; a partition "
        "that it has just got waits.",
        "nothing; if it lasts for minutes: check the brokers",
    ),
    LogEvent(
        "pauses_denied",
        "warning",
        "The group of the operator's pauses may not be read: `wootric-stream pause` has no effect.",
        "grant Describe on the group `<KAFKA__GROUP_ID>.pause`",
    ),
    LogEvent(
        "unhandled_error",
        "error",
        "An unexpected exception (`error`) ends the process; `exception` has the traceback.",
        "report it",
    ),
    LogEvent(
        "circuit_opened",
        "error",
        "Wootric refuses requests or does not reply (`reason`). Nothing is sent; no event is lost.",
        "credentials, unauthorized, forbidden, payment_required, redirected: run `wootric-stream "
        "doctor`; unreachable: wait",
    ),
    LogEvent("circuit_closed", "info", "Wootric accepts requests again.", "nothing"),
    LogEvent(
        "credentials_refused",
        "error",
        "Wootric does not issue a token, for the reason `error`; `look_at` names the settings.",
        "fix these settings; files are reloaded, the environment needs a restart",
    ),
    LogEvent(
        "credentials_accepted",
        "info",
        "Wootric issues tokens again.",
        "nothing",
    ),
    LogEvent(
        "library_error",
        "error",
        "A library logged an error: `where` has its name and message, `exception` the traceback.",
        "report it",
    ),
    LogEvent(
        "library_warning",
        "warning",
        "A library logged a warning: `where` has its name and message.",
        "nothing; if many: check what `where` names",
    ),
    LogEvent(
        "kafka_login_changed",
        "info",
        "The user name or password for Kafka in the files changed; the new one is used.",
        "nothing",
    ),
    LogEvent(
        "kafka_token_failed",
        "warning",
        "AWS's signer gives no token for Kafka (`error` is its exception); Kafka's client asks "
        "again after ten seconds, and connections stay open until their last token expires.",
        "nothing; if it lasts for minutes: check the credentials of AWS",
    ),
    LogEvent(
        "broker_limits_unknown",
        "warning",
        "The brokers do not show their limits (`detail`), so the timeouts are not compared with "
        "them at the start; the brokers refuse one that is too long.",
        "nothing; if the worker ends afterwards: compare KAFKA__SESSION_TIMEOUT_S and "
        "KAFKA__TRANSACTION_TIMEOUT_S with the limits of the provider",
    ),
    LogEvent(
        "secrets_not_read",
        "warning",
        "The settings could not be reloaded (`detail`); the last ones stay in effect.",
        "see `detail`",
    ),
    LogEvent(
        "rejected",
        "info",
        "Wootric permanently rejected a request (`reason`); its events become dead letters.",
        "see the reason in the table of reasons",
    ),
    LogEvent(
        "identity_conflict",
        "info",
        "Identities of end users conflict (`kind`); `request_id` is in the receipts.",
        'none; if many: see "Identity"',
    ),
    LogEvent(
        "throttled",
        "info",
        "Wootric asked to wait for `wait_s` seconds.",
        "nothing; if lag grows: ask Wootric for a higher limit",
    ),
    LogEvent(
        "transaction_aborted",
        "warning",
        "A transaction was aborted; the next one includes its changes.",
        "nothing; if many: check the brokers and rebalances",
    ),
    LogEvent(
        "commit_unknown",
        "warning",
        "The reply to a commit is missing; the committed offsets are read to resolve it.",
        "nothing",
    ),
    LogEvent(
        "commit_unresolved",
        "warning",
        "The committed offsets could not be read either; they are read again.",
        "check the brokers",
    ),
    LogEvent(
        "kafka_client_error",
        "warning",
        "A Kafka client reports an error from which it recovers: `error` is librdkafka's name, "
        "`detail` the place and the cause.",
        "nothing; if it lasts for minutes: check the brokers",
    ),
    LogEvent(
        "requesting_rebalance",
        "warning",
        "Partitions of the topic (`partitions`) have no owner in a stable group: a member "
        "restarted while it gave them up. Another joins for a moment, and the group assigns them.",
        "nothing; if it repeats: look for workers that restart again and again",
    ),
    LogEvent(
        "rejoining_group",
        "warning",
        "The group permanently refuses the worker's client (`error`); a new client joins, and its "
        "partitions are restored.",
        "nothing; if the worker exits with 75 soon after: look for a second process with this "
        "KAFKA__INSTANCE_ID",
    ),
    LogEvent(
        "restore_failed",
        "warning",
        "A ledger could not be read; the read is retried.",
        "nothing; if it lasts for minutes: check the brokers and the ACLs",
    ),
    LogEvent(
        "restoring",
        "info",
        "A ledger is being read: `entries` so far, about `left` remaining.",
        "nothing",
    ),
    LogEvent(
        "state_store_rebuilt",
        "warning",
        "A state store under STATE__DIR is unusable and is rebuilt from the ledger. `reason`: "
        "`corrupt`, `foreign`, `ahead`, `behind` or `stale`.",
        "nothing; if often `corrupt`: check the disk",
    ),
    LogEvent(
        "state_store_removed",
        "info",
        "An unused store older than the ledger's retention was removed.",
        "nothing",
    ),
    LogEvent(
        "state_store_unusable",
        "warning",
        "No store can be opened under STATE__DIR (`error`), or another process holds it; the "
        "partition is held in memory.",
        "fix the directory or its disk, or find the other process; then restart",
    ),
    LogEvent(
        "state_not_written",
        "warning",
        "The last writes before a store was closed failed (`error`); they are read from the ledger "
        "again.",
        "free space on the disk, or fix it",
    ),
    LogEvent(
        "state_unreadable",
        "error",
        "A store cannot be read or written (`error`); the worker exits with 75, and the next start "
        "rebuilds it.",
        "free space on the disk; if it recurs: replace the disk",
    ),
    LogEvent(
        "fencing_dead_instance",
        "info",
        "An open transaction of a dead worker is aborted, so that it does not block readers.",
        "nothing",
    ),
    LogEvent("draining", "info", "SIGTERM: requests in flight are finished first.", "nothing"),
    LogEvent("stopped", "info", "The worker has stopped.", "nothing"),
    LogEvent(
        "close_failed",
        "warning",
        "A client could not be closed during shutdown.",
        "nothing: everything was committed or will be read again",
    ),
    LogEvent("committed", "debug", "A transaction was committed.", "nothing"),
    LogEvent("lag_exporter_started", "info", "The lag exporter has started.", "nothing"),
    LogEvent(
        "lag_not_measured",
        "warning",
        "The lag exporter got no reply from Kafka; it retries.",
        "check the brokers and the ACLs",
    ),
    LogEvent(
        "dead_letters_not_measured",
        "warning",
        "The lag exporter could not read the dead letters or parked events; it retries.",
        "check its rights: Read and DescribeConfigs on both topics",
    ),
    LogEvent(
        "registry_unavailable",
        "warning",
        "The schema registry did not reply at startup; records in its framing wait for it.",
        "check the registry and the SCHEMA_REGISTRY__… settings",
    ),
    LogEvent(
        "subject_is_empty", "info", "The registry has no schema for the input yet.", "nothing"
    ),
    LogEvent("schema_found", "info", "A schema was fetched from the registry by id.", "nothing"),
    LogEvent(
        "schema_unknown",
        "error",
        "The registry has not known an id for SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S; its records "
        "become dead letters.",
        "find the producer that uses it, register the schema, replay",
    ),
    LogEvent("schema_id", "info", "The registry's id of the service's own schema.", "nothing"),
    LogEvent(
        "schema_not_registered", "info", "The service's schema is not registered yet.", "nothing"
    ),
    LogEvent("bridge_started", "info", "The bridge accepts events.", "nothing"),
    LogEvent(
        "connections_closed",
        "warning",
        "The bridge closed connections, with their numbers by cause since the last line; at most "
        "one line a minute.",
        "`capacity`: raise BRIDGE__CONNECTIONS_MAX, or BRIDGE__BOUND_BY_ADDRESS=false behind a "
        "proxy; others: nothing, unless Segment's requests fail",
    ),
    LogEvent(
        "kafka_unavailable",
        "warning",
        "Kafka did not acknowledge a request's events (`error`); senders receive 503.",
        "if it lasts for minutes: check the brokers",
    ),
    LogEvent("kafka_recovered", "info", "Kafka acknowledges events again.", "nothing"),
    LogEvent(
        "request_failed",
        "error",
        "An unexpected exception failed a request with 500; `where` has the traceback.",
        "report it",
    ),
    LogEvent(
        "personal_data_shown",
        "info",
        "A command of the operating system's `user` on the host `instance` shows personal data of "
        "N `records`; null: of all.",
        "nothing; keep these lines as long as your audits require",
    ),
    LogEvent(
        "input_changed",
        "info",
        "`user` on the host `instance` pauses or resumes `partitions` (`command`).",
        "nothing; keep these lines as long as your audits require",
    ),
    LogEvent(
        "transfer_aborted",
        "warning",
        "A transaction of `bridge --from-topic` was aborted; it is retried.",
        "nothing; if it lasts for minutes: check the brokers",
    ),
)
