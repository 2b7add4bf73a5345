"""The log's events: every line has one of these ids, and no other."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event: at which level it is logged, when, and what a person does then."""

    name: str
    level: str
    description: str
    action: str


EVENTS = (
    LogEvent("started", "info", "The worker has begun to join the group.", "nothing"),
    LogEvent(
        "rebalanced",
        "info",
        "Partitions were assigned, revoked or lost (`change`).",
        "nothing; many in ten minutes: look for workers that start and end",
    ),
    LogEvent(
        "partition_opened",
        "info",
        "A partition's ledger is restored; reading begins. `in_doubt` says what its last owner "
        "left open.",
        "nothing",
    ),
    LogEvent(
        "partition_halted",
        "error",
        "A partition stands still, for the `reason` that `detail` explains.",
        "what `detail` says",
    ),
    LogEvent("partition_resumed", "info", "A halted partition reads on.", "nothing"),
    LogEvent(
        "unhandled_error",
        "error",
        "Something that nobody foresaw ends the process: `error`, and `exception` the way there.",
        "report it",
    ),
    LogEvent(
        "circuit_opened",
        "error",
        "Wootric refuses us or does not answer (`reason`): nothing is sent, nothing is lost.",
        "credentials, unauthorized, forbidden, payment_required, redirected: `wootric-stream "
        "doctor`; unreachable: wait",
    ),
    LogEvent("circuit_closed", "info", "Wootric serves us again.", "nothing"),
    LogEvent(
        "credentials_refused",
        "error",
        "Wootric gives no token, for the reason `error`; `look_at` names the settings.",
        "mend those settings; what is in files is read again, for the environment start again",
    ),
    LogEvent(
        "credentials_accepted",
        "info",
        "Wootric gives tokens again.",
        "nothing",
    ),
    LogEvent(
        "library_error",
        "error",
        "A library met something unexpected: `where` has its name and what it says, `exception` "
        "the way there.",
        "report it",
    ),
    LogEvent(
        "library_warning",
        "warning",
        "The same, less bad.",
        "nothing; many: look at what `where` names",
    ),
    LogEvent(
        "kafka_login_changed",
        "info",
        "The files have another name or password for Kafka: it is used from now on.",
        "nothing",
    ),
    LogEvent(
        "secrets_not_read",
        "warning",
        "The settings could not be read again (`detail`): what was read last still counts.",
        "what `detail` says",
    ),
    LogEvent(
        "rejected",
        "info",
        "Wootric refused a request for good (`reason`); its events are dead letters.",
        "what the reason says in the table of reasons",
    ),
    LogEvent(
        "identity_conflict",
        "info",
        "Identities of end users clashed (`kind`); `request_id` is in the receipts.",
        'nothing; many: see "Identity"',
    ),
    LogEvent(
        "throttled",
        "info",
        "Wootric asked to wait for `wait_s`.",
        "nothing; if lag grows: ask Wootric for a higher limit",
    ),
    LogEvent(
        "transaction_aborted",
        "warning",
        "Nothing of a transaction was committed; the next one says the same again.",
        "nothing; many: look at the brokers and at rebalances",
    ),
    LogEvent(
        "commit_unknown",
        "warning",
        "The reply to a commit is missing; the committed offsets are asked.",
        "nothing",
    ),
    LogEvent(
        "commit_unresolved",
        "warning",
        "Kafka could not be asked either; it is asked again.",
        "look at the brokers",
    ),
    LogEvent(
        "kafka_client_error",
        "warning",
        "Kafka's client reports trouble that it gets over by itself: `error` is its word, `detail` "
        "says where and why.",
        "nothing; for minutes: look at the brokers",
    ),
    LogEvent(
        "rejoining_group",
        "warning",
        "The group refuses the worker's client for good (`error`): another one joins, and its "
        "partitions are restored.",
        "nothing; it ends with 75 soon after: look for a second process with this "
        "KAFKA__INSTANCE_ID",
    ),
    LogEvent(
        "restore_failed",
        "warning",
        "A ledger could not be read; it is tried again.",
        "nothing; for minutes: look at the brokers and at rights",
    ),
    LogEvent(
        "restoring",
        "info",
        "A ledger is being read: `entries` so far, about `left` to go.",
        "nothing",
    ),
    LogEvent(
        "state_store_rebuilt",
        "warning",
        "A store below STATE__DIR is no use and is made anew: it is `corrupt`, `foreign`, "
        "`ahead`, `behind` or `stale` (`reason`).",
        "nothing: the ledger is read from its beginning; often `corrupt`: look at the disk",
    ),
    LogEvent(
        "state_store_locked",
        "warning",
        "Another process has a partition's store open: a spare one is used.",
        "nothing; for long: who still uses this STATE__DIR?",
    ),
    LogEvent(
        "state_store_removed",
        "info",
        "A store that nobody has, and that is older than what the ledger keeps, was removed.",
        "nothing",
    ),
    LogEvent(
        "state_store_unusable",
        "warning",
        "No store can be opened below STATE__DIR (`error`): the partition is held in memory.",
        "mend the directory or its disk, restart",
    ),
    LogEvent(
        "state_not_written",
        "warning",
        "The disk takes nothing (`error`): what comes is held in memory, and tried again.",
        "make room, or mend the disk",
    ),
    LogEvent(
        "state_written_again", "info", "The disk has taken what was held in memory.", "nothing"
    ),
    LogEvent(
        "state_unreadable",
        "error",
        "A store cannot be read (`error`): the worker ends with 75, and makes it anew.",
        "nothing; again: replace the disk",
    ),
    LogEvent(
        "fencing_dead_instance",
        "info",
        "A dead worker's open transaction is ended, so that nobody waits for it.",
        "nothing",
    ),
    LogEvent("draining", "info", "SIGTERM: what is under way is finished first.", "nothing"),
    LogEvent("stopped", "info", "The worker has left.", "nothing"),
    LogEvent(
        "close_failed",
        "warning",
        "A client could not be closed at the end.",
        "nothing: everything was committed or is read again",
    ),
    LogEvent("committed", "debug", "A transaction was committed.", "nothing"),
    LogEvent("lag_exporter_started", "info", "The lag exporter measures from now on.", "nothing"),
    LogEvent(
        "lag_not_measured",
        "warning",
        "Kafka did not answer the lag exporter; it is asked again.",
        "look at the brokers and at rights",
    ),
    LogEvent(
        "registry_unavailable",
        "warning",
        "The schema registry did not answer at the start: records in its framing wait for it.",
        "look at the registry and at SCHEMA_REGISTRY__…",
    ),
    LogEvent(
        "subject_is_empty", "info", "The registry has no schema for the input yet.", "nothing"
    ),
    LogEvent("schema_found", "info", "The registry has told a schema by its id.", "nothing"),
    LogEvent(
        "schema_unknown",
        "error",
        "The registry did not know an id for SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S: its records "
        "become dead letters.",
        "find who writes with it; register the schema, replay",
    ),
    LogEvent("schema_id", "info", "The id that our own schema has in the registry.", "nothing"),
    LogEvent("schema_not_registered", "info", "Our schema is not registered yet.", "nothing"),
    LogEvent("bridge_started", "info", "The bridge takes events from now on.", "nothing"),
    LogEvent(
        "kafka_unavailable",
        "warning",
        "Kafka did not acknowledge a request's events (`error`): senders are told 503.",
        "for minutes: look at the brokers",
    ),
    LogEvent("kafka_recovered", "info", "Kafka acknowledges again.", "nothing"),
    LogEvent(
        "request_failed",
        "error",
        "A request met a defect of ours and got 500: `where` is the way to it.",
        "report it",
    ),
    LogEvent(
        "transfer_aborted",
        "warning",
        "A transaction of `bridge --from-topic` came to nothing; it is tried again.",
        "nothing; for minutes: look at the brokers",
    ),
)
