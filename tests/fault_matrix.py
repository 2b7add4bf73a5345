"""The faults that the tests make: what is broken, how, what is expected, and what came of it.

`make docs` makes docs/explanation/faults.md of this. A row without its test would be a claim.
"""

from dataclasses import dataclass

AS_EXPECTED = "as expected"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; ``tests`` are the names of the tests that make it."""

    fault: str
    made_by: str
    expected: str
    tests: tuple[str, ...]
    result: str = AS_EXPECTED


FAULTS = (
    Fault(
        "`kill -9` before an intent is committed",
        "the process kills itself at the named call (produce, offsets, commit) and is restarted",
        "nothing was sent; the event is read again",
        ("test_a_kill_at_each_point_changes_nothing",),
    ),
    Fault(
        "`kill -9` between intent and request",
        "the same, before the request",
        "looked up after the quiet period, then sent once; a page view is parked",
        ("test_a_kill_at_each_point_changes_nothing",),
    ),
    Fault(
        "`kill -9` after the request's bytes are sent",
        "the same, after the write to the socket",
        "found or sent, once; a page view is parked",
        ("test_a_kill_at_each_point_changes_nothing",),
    ),
    Fault(
        "`kill -9` between reply and receipt",
        "the same, after the reply",
        "found, receipt, no second effect",
        ("test_a_kill_at_each_point_changes_nothing",),
    ),
    Fault(
        "`kill -9` inside a transaction, and its owner never returns",
        "the same, before the commit; another instance takes over",
        "the successor ends it; nobody waits for its minute",
        (
            "test_a_transaction_that_nobody_ends_holds_up_for_seconds_only",
            "test_a_kill_at_each_point_changes_nothing",
        ),
        "over in 14 s, session included",
    ),
    Fault(
        "`kill -9` right after the commit, or while an unknown commit is read back",
        "the same, after the commit or during the read-back",
        "the committed metadata decides",
        ("test_a_kill_at_each_point_changes_nothing", "test_a_kill_while_a_commit_is_unknown"),
    ),
    Fault(
        "`kill -9` while a transaction is aborted",
        "the same, after an ordered failure",
        "the next transaction includes its content",
        ("test_a_kill_while_a_transaction_is_aborted",),
    ),
    Fault(
        "`kill -9` during a restore",
        "the same, during the restore and at its end",
        "the partition stays closed and is restored again",
        ("test_a_kill_at_each_point_changes_nothing",),
    ),
    Fault(
        "`kill -9` while a dead letter is produced",
        "the same",
        "one dead letter per bad record",
        ("test_a_kill_at_each_point_changes_nothing",),
    ),
    Fault(
        "`kill -9` while dead letters are replayed, and the replay repeated",
        "the command is killed after some dead letters",
        "one effect per dead letter",
        ("test_a_replay_killed_in_the_middle_and_repeated_has_one_effect",),
    ),
    Fault(
        "`kill -9` while partitions are revoked, and while it leaves",
        "the same, with a second worker, or after SIGTERM",
        "the next owner completes everything",
        ("test_a_kill_while_partitions_are_given_away", "test_a_kill_while_it_leaves"),
    ),
    Fault(
        "ten times `kill -9` under 20,000 events, 5 % of the replies lost after the effect",
        "at random moments, under both readings of PUT",
        "nothing lost, nothing twice",
        ("test_ten_kills_and_lost_replies_leave_wootric_as_it_should_be",),
    ),
    Fault(
        "killed with the most requests in flight (out of memory)",
        "60 requests unanswered, then `kill -9`; also a second after SIGTERM, at the "
        "end of its grace period",
        "all of them are resolved",
        ("test_a_worker_that_is_killed_at_its_fullest_leaves_nothing_undone",),
    ),
    Fault(
        "a zombie with requests in flight",
        "SIGSTOP beyond the session, a second worker meanwhile, SIGCONT",
        "it sends nothing more; what it sent is found",
        ("test_a_zombie_that_wakes_sends_nothing_twice",),
    ),
    Fault(
        "a zombie inside its transaction, or about to begin one",
        "SIGSTOP at four steps, beyond session and transaction",
        "the group refuses its commit",
        ("test_a_zombie_in_its_transaction_commits_nothing_of_others",),
    ),
    Fault(
        "a transaction that its own live worker slept through",
        "SIGSTOP before the commit, beyond its timeout, within the session",
        "the same worker commits its content again and continues",
        ("test_a_transaction_that_timed_out_is_said_again",),
        "no rebalance, no restart",
    ),
    Fault(
        "frozen between the last check and the write",
        "SIGSTOP there; awake before the next owner looks",
        "the late effect is found",
        ("test_a_freeze_between_check_and_write_is_outwaited",),
        'as expected; for longer than that see "not shown"',
    ),
    Fault(
        "the reply is lost",
        "a proxy on loopback resets the connection after the request; the emulator drops it",
        "in doubt, looked up, never sent blindly",
        (
            "test_a_network_that_breaks_repeats_and_loses_nothing",
            "test_a_reset_is_in_doubt_and_not_repeated",
        ),
    ),
    Fault(
        "the request is lost",
        "the proxy resets before a byte is forwarded",
        "in doubt, looked up, sent once",
        ("test_a_network_that_breaks_repeats_and_loses_nothing",),
    ),
    Fault(
        "half a request arrives",
        "the proxy forwards 60 bytes, then resets",
        "no effect, or one",
        ("test_a_network_that_breaks_repeats_and_loses_nothing",),
    ),
    Fault(
        "half a reply arrives",
        "the proxy returns 40 bytes, or the emulator cuts the body",
        "2xx is an effect; without a status it is in doubt",
        (
            "test_a_network_that_breaks_repeats_and_loses_nothing",
            "test_a_reply_that_breaks_off_is_an_effect_all_the_same",
        ),
    ),
    Fault(
        "a reply that arrives slowly beyond the deadline",
        "10 bytes every 0.1 s",
        "the deadline covers the whole reply",
        ("test_a_network_that_breaks_repeats_and_loses_nothing", "test_a_timeout_is_in_doubt"),
    ),
    Fault(
        "latency, jitter, a slow reply within the deadline",
        "the proxy, in both directions",
        "no doubt",
        ("test_a_slow_network_is_no_doubt",),
        "none",
    ),
    Fault(
        "an effect that comes late, also with a newer update behind it",
        "the emulator, under both readings of PUT",
        "found within the quiet period; never overwrites the newer one",
        (
            "test_an_effect_that_comes_late_is_found",
            "test_a_late_copy_of_an_update_does_not_overwrite_a_newer_one",
        ),
    ),
    Fault(
        "a server that closes idle connections",
        "after a second, by the proxy",
        "no request is lost on a closed connection",
        ("test_a_server_that_closes_idle_connections_causes_no_doubt",),
        "no doubt",
    ),
    Fault(
        "Wootric silent for twice the poll interval",
        "the proxy holds everything back",
        "circuit open, no rebalance, bounded memory, automatic recovery",
        ("test_a_silent_wootric_opens_the_circuit",),
    ),
    Fault(
        "a proxy on the way repeats requests",
        "the proxy sends writes twice",
        'creates and updates: one end user; responses: see "not shown"',
        ("test_a_proxy_that_repeats_requests_makes_no_end_user_twice",),
    ),
    Fault(
        "no name, no connection, no TLS",
        "sockets that refuse",
        "nothing was sent, no attempt is counted",
        (
            "test_an_unknown_name_sent_nothing",
            "test_a_refused_connection_sent_nothing",
            "test_tls_that_fails_sent_nothing",
        ),
    ),
    Fault(
        "429 for twice the poll interval: seconds, a date, nothing, garbage, a day",
        "the emulator, under a live worker",
        "lag grows and is visible, no rebalance, no dead letter, bounded memory",
        (
            "test_wootric_that_refuses_everything_loses_nothing",
            "test_a_long_wait_gives_the_place_back",
        ),
        'as expected; after "a day" it tries again within the hour',
    ),
    Fault(
        "401 despite a fresh token, 402, 403 for as long, then well again",
        "the same",
        "circuit open, nothing committed past, automatic recovery",
        ("test_wootric_that_refuses_everything_loses_nothing",),
        "as expected; found and fixed: with a short poll interval no partition opened",
    ),
    Fault(
        "500, 502, 503, 504, with and without effect",
        "the emulator, at every kind of request and under a live worker",
        "in doubt by class",
        (
            "test_server_errors_with_and_without_effect_repeat_nothing",
            "test_a_server_that_failed_may_have_done_it",
        ),
    ),
    Fault(
        "413 and other refusals of one request",
        "the emulator",
        "a dead letter with its reason, at once",
        ("test_a_refusal_is_final_and_says_why",),
    ),
    Fault(
        "tokens that expire or are revoked while requests are in flight",
        "lifetimes of a second, under load",
        "one renewal for all, each request once",
        (
            "test_tokens_that_expire_under_load_are_renewed_one_at_a_time",
            "test_many_refused_at_once_share_one_renewal",
        ),
    ),
    Fault(
        "a token endpoint that is down, slow, refuses, repeats a useless token, or gives none",
        "the emulator, all tokens revoked",
        "nothing is sent; everything is caught up",
        ("test_a_token_endpoint_in_trouble_loses_nothing",),
    ),
    Fault(
        "wrong credentials at the start",
        "the emulator, under a live worker",
        "reported at once, nothing lost",
        ("test_wrong_credentials_are_said_and_nothing_is_lost",),
    ),
    Fault(
        "the worker's clock five minutes ahead or behind",
        "the worker's clock is changed; points in time in 429s",
        "waits as long as Wootric asked",
        ("test_a_clock_five_minutes_off_waits_as_long_as_it_should",),
        "at most 4 s of 4 s",
    ),
    Fault(
        "an account whose quota runs out, by one worker or several",
        "the emulator, and accounts on a simulated clock",
        "spread evenly, hardly ever refused",
        (
            "test_what_the_account_has_left_is_spread_instead_of_refused",
            "test_an_account_under_full_load_is_used_up_and_hardly_ever_refuses",
        ),
    ),
    Fault(
        "a host that fails, or becomes slow",
        "the emulator, and a host on a simulated clock",
        "fewer requests at once",
        (
            "test_a_host_that_fails_is_asked_fewer_things_at_once",
            "test_a_host_that_becomes_slow_is_asked_less_then_as_before",
        ),
    ),
    Fault(
        "end users that are created, deleted or taken over by others",
        "the emulator, under every reading of the documents",
        "one end user, never another person's",
        (
            "test_an_end_user_that_is_created_between_look_up_and_create",
            "test_somebody_who_was_deleted_behind_our_back_is_created_again",
            "test_two_user_ids_with_one_email_are_one_end_user",
        ),
    ),
    Fault(
        "duplicates: together, after a restart, beyond the window, in another partition",
        "published again",
        "one effect within window and partition, another beyond",
        (
            "test_a_duplicate_is_one_within_the_window_and_its_partition",
            "test_a_message_id_is_settled_once",
        ),
    ),
    Fault(
        "bad bytes, unknown schemas, 900 KB, null values, bad fields",
        "published",
        "one dead letter each, the stream continues",
        ("test_bad_records_become_dead_letters_and_the_stream_flows_on",),
    ),
    Fault(
        "records deleted before they were read",
        "by an operator, while the worker is away",
        "their partition halts with a reason, the others continue",
        ("test_records_deleted_before_they_were_read_halt_their_partition",),
        "as expected; found and fixed: the worker ended at every assignment",
    ),
    Fault(
        "offsets reset to the beginning",
        "by an operator's commit",
        "the ledger knows; nothing is sent",
        ("test_offsets_set_back_to_the_beginning_repeat_nothing",),
        "no effect",
    ),
    Fault(
        "the input gets a partition, the ledger does not",
        "by an operator",
        "the new one halts, and opens once it has a ledger",
        ("test_partitions_without_a_ledger_wait_for_it",),
    ),
    Fault(
        "a write that is refused: dead letters or ledger without the right, a dead "
        "letter too large, dead letters deleted",
        "on brokers with access control, under a live worker, fixed after seconds",
        "nothing is committed past it, everything continues by itself",
        ("test_a_write_that_is_refused_holds_up_what_it_belongs_to",),
    ),
    Fault(
        "too few replicas for ledger and dead letters",
        "all three are required, one broker is killed",
        "the same",
        ("test_too_few_replicas_hold_up_what_they_are_too_few_for",),
    ),
    Fault(
        "a ledger that lost records: deleted and created again, or truncated",
        "deleted and created again under a live worker",
        "the worker ends before it sends; partitions stay closed (`ledger_behind`) "
        "until somebody acts",
        (
            "test_a_ledger_that_was_made_again_is_not_taken_for_the_old_one",
            "test_a_record_below_the_known_end_means_that_records_are_gone",
        ),
    ),
    Fault(
        "the ledger is compacted while it is restored",
        "segments of 1 MiB, 90,000 versions of 150 keys, the cleaner without pause",
        "every receipt is known",
        ("test_a_restore_during_compaction_knows_all_that_it_should",),
        "no effect is repeated",
    ),
    Fault(
        "a receipt, a dead letter, half a transaction that is inconsistent",
        "records written by hand",
        "`verify` names it",
        ("test_verify_names_each_event_that_is_not_as_it_has_to_be",),
    ),
    Fault(
        "the leader of the input or of the ledger dies",
        "`kill -9` of one broker of three, at a step of a transaction",
        "the client finds the new one, or the commit is read back",
        ("test_a_broker_that_is_killed_changes_nothing",),
        "as expected; a reader of committed records sees the same set meanwhile",
    ),
    Fault(
        "the group's coordinator dies before TxnOffsetCommit",
        "the same",
        "the same",
        ("test_a_broker_that_is_killed_changes_nothing",),
        "the same",
    ),
    Fault(
        "the transactions' coordinator dies before EndTxn",
        "the same",
        "the same",
        ("test_a_broker_that_is_killed_changes_nothing",),
        "the same",
    ),
    Fault(
        "a rolling restart: every leader and coordinator stopped in order",
        "each of three brokers, two workers",
        "the same",
        ("test_a_rolling_restart_changes_nothing",),
        "the same",
    ),
    Fault(
        "the reply to a commit is lost, before or after it happened, and the read-back "
        "fails at first",
        "the client's call raises",
        "read back",
        ("test_an_unknown_commit_is_read_back",),
    ),
    Fault(
        "a request to the transactions' coordinator arrives after the timeout; its "
        "replies never come",
        "a proxy before each broker holds one direction for 7 s",
        "read back by a new producer; the late request is fenced",
        ("test_a_network_between_worker_and_kafka_that_breaks_changes_nothing",),
    ),
    Fault(
        "no broker, one broker or the group's coordinator out of reach; resets; latency",
        "the same proxies, for longer than session and transaction",
        "fenced, or continues; no hang",
        ("test_a_network_between_worker_and_kafka_that_breaks_changes_nothing",),
        "back within 45 s",
    ),
    Fault(
        "a partition of the ledger without a leader when it is restored",
        "`kill -9` of its broker",
        "a missing answer is not taken for an end",
        ("test_an_end_without_a_leader_is_no_answer",),
    ),
    Fault(
        "a foreign transaction that hangs in input and ledger",
        "opened by the test and left",
        "its partition waits, the others continue",
        ("test_a_transaction_of_somebody_else_that_hangs_holds_up_its_partition_only",),
        "open as soon as the broker ended it",
    ),
    Fault(
        "a transactional id that Kafka has forgotten",
        "a broker that forgets after 3 s, a worker idle for 6 s",
        "registered again",
        ("test_a_transactional_id_that_kafka_has_forgotten_is_taken_anew",),
    ),
    Fault(
        "a storm of rebalances",
        "nine workers join and leave in 20 s, longer in `make soak`",
        "nothing twice",
        ("test_a_storm_of_rebalances_changes_nothing",),
    ),
    Fault(
        "a revoke while Wootric is slow",
        "replies of 1.5 s, half a second to finish",
        "the next owner handles the rest",
        ("test_a_revoke_does_not_wait_for_a_slow_wootric",),
    ),
    Fault(
        "`group.protocol=consumer`",
        "a second worker and `kill -9` under it",
        "nothing twice",
        ("test_the_new_group_protocol_delivers_once_too",),
        "as expected; refused until its predecessor's session ends",
    ),
    Fault(
        "two workers with one instance id",
        "the second is started under load",
        "one of them ends with 75 and says so",
        ("test_two_workers_with_one_identity_end_as_one",),
    ),
    Fault(
        "somebody takes the worker's transactional id",
        "a producer of the test",
        "it ends with 75 and says so",
        ("test_a_producer_that_is_fenced_ends_its_worker",),
    ),
    Fault(
        "SIGTERM under load, and again while it leaves",
        "with slow replies",
        "finished, committed, exit 0, no open intent",
        ("test_sigterm_finishes_what_is_under_way", "test_a_second_sigterm_changes_nothing"),
    ),
    Fault(
        "SIGTERM while Kafka is silent: before a commit, in it, in an abort",
        "SIGSTOP of the broker at that step",
        "it leaves within its grace period",
        ("test_it_leaves_while_kafka_is_frozen",),
        "as expected; found and fixed: in a commit it never left",
    ),
    Fault(
        "a client that cannot be closed, or a call that never returns",
        "the call raises, or sleeps for an hour",
        "it leaves all the same, or continues with a new producer",
        (
            "test_a_client_that_cannot_be_closed_does_not_hold_the_worker",
            "test_a_call_that_never_returns_is_given_up",
        ),
        "as expected; found after resets and fixed: sending offsets never returned",
    ),
    Fault(
        "the event loop is blocked, or a call holds the interpreter",
        "4 s in a request, twice the lease",
        "released requests are not sent late; no rebalance",
        ("test_an_event_loop_that_stands_still_sends_nothing_late",),
    ),
    Fault(
        "the wall clock jumps an hour ahead and behind",
        "the worker's clock is changed under load, and a kill",
        "nothing depends on it",
        ("test_a_wall_clock_that_jumps_changes_nothing",),
    ),
    Fault(
        "an upgrade and a rollback with open requests; a rollback to a version that "
        "cannot read them",
        "version N, N+1 with another ledger schema and other rendering, and N again, "
        "each killed with -9",
        "frozen requests are sent as they were",
        ("test_open_requests_survive_an_upgrade_and_a_rollback",),
    ),
    Fault(
        "all of it in any order: crashes, zombies, rebalances, aborts, unknown commits, "
        "lost and late requests, replies and effects, 401, 403, 429, duplicates, "
        "replays",
        "20,000 seeded schedules of the pure core and 2,000 of loop, core and sink "
        "before the emulator, on a simulated clock",
        "each effect exactly once",
        ("test_every_schedule_leaves_each_effect_exactly_once",),
    ),
    Fault(
        "each safeguard missing",
        "a patch in the test",
        "the simulation, or the oracle, finds it",
        (
            "test_the_simulation_finds_what_a_missing_safeguard_does",
            "test_without_a_safeguard_a_rare_moment_does_harm",
        ),
    ),
    Fault(
        "a thread that is blocked between its decision and its commit; a commit of a "
        "worker that the group has forgotten; a foreign open transaction on the ledger; "
        "an end of the ledger that no leader gives",
        "step by step, with the safeguard and without",
        "nothing twice with it",
        ("test_without_a_safeguard_a_rare_moment_does_harm",),
    ),
    Fault(
        "`kill -9` of the bridge, ten times under load",
        "at random moments; the sender repeats as Segment does",
        "what was acknowledged is in Kafka, each effect once",
        ("test_ten_kills_of_the_bridge_lose_and_repeat_nothing",),
    ),
    Fault(
        "SIGTERM to the bridge under load",
        "with requests in flight",
        "each gets its answer; exit 0",
        ("test_sigterm_finishes_what_was_accepted",),
    ),
    Fault(
        "Kafka silent under the bridge",
        "SIGSTOP of the broker",
        "503 at once, memory flat, everything continues afterwards",
        ("test_memory_is_flat_while_kafka_is_away",),
    ),
    Fault(
        "requests that are forged, malformed or cut off, at any layer",
        "thousands from a seed; 100,000 in `make bench`",
        "no 5xx, nothing in Kafka, memory flat, nothing quoted in the log",
        ("test_nothing_that_is_malformed_or_forged_gets_in_or_does_harm",),
    ),
    Fault(
        "senders that are slow, or too many",
        "half a head, half a body, connections and bytes beyond the limits",
        "408, 503 or closed; others are served",
        (
            "test_who_is_slow_or_one_too_many_is_let_go",
            "test_a_request_beyond_the_budget_is_told_to_come_again",
        ),
    ),
    Fault(
        "`kill -9` at every call of `bridge --from-topic`, then a rebalance",
        "the process kills itself at the named call",
        "each record is forwarded once, each bad one is one dead letter",
        ("test_a_kill_at_each_call_takes_every_record_over_once",),
    ),
    Fault(
        "the schema registry unavailable, through `kill -9` and a rebalance",
        "it breaks every connection",
        "records of an unknown id wait with an alarm, others continue, no dead letter",
        ("test_while_the_registry_is_away_its_records_wait_and_others_flow",),
    ),
    Fault(
        "an id that the registry does not know, for a while or for good",
        "published",
        "waits, then is delivered, or becomes a dead letter",
        ("test_an_id_that_nobody_knows_is_waited_for_then_given_up",),
    ),
    Fault(
        "rotated secrets, Wootric's and Kafka's at once, refused before the new ones are there",
        "the emulator, and a broker that makes each connection log in again every 4 s; "
        "files replaced as kubelet does it",
        "the circuit opens and closes by itself, the Kafka login is renewed, no restart",
        ("test_rotated_secrets_are_taken_up_without_a_restart",),
    ),
    Fault(
        "`kill -9` at each call of the store on disk, and while it is closed",
        "the process kills itself before and after opening, writing, flushing, closing",
        "the successor opens it warm and reads the rest",
        (
            "test_a_kill_at_each_call_of_the_store_changes_nothing",
            "test_a_kill_while_a_store_is_closed",
        ),
    ),
    Fault(
        "`kill -9` of a process that only writes a store",
        "at random moments",
        "the rest is correct as of the offset that it names",
        ("test_a_store_that_was_killed_at_any_moment_is_right",),
    ),
    Fault(
        "a store that is corrupt, cut off, of another ledger, of another format, ahead, "
        "behind, or too old",
        "files are overwritten, removed, cut; ledgers made up",
        "a new one, with a warning and the reason",
        (
            "test_a_store_that_is_no_use_is_made_anew",
            "test_damage_that_shows_later_ends_the_worker_and_makes_the_store_anew",
            "test_a_store_that_cannot_be_read_ends_its_worker_and_is_made_anew",
        ),
    ),
    Fault(
        "a store that another process has open",
        "a process that keeps it open",
        "a spare one meanwhile; never two writers",
        ("test_a_store_that_another_process_has_is_left_to_it",),
    ),
    Fault(
        "a disk that is full, or cannot be written",
        "writes are refused for a while; a file in the way",
        "memory holds new entries until there is room",
        (
            "test_what_a_full_disk_refuses_is_held_in_memory_until_it_has_room",
            "test_a_directory_that_cannot_be_written_leaves_memory",
        ),
    ),
    Fault(
        "a rebalance with state on disk",
        "a second worker, one directory for both",
        "each partition is opened warm by its new owner",
        ("test_a_partition_that_moves_takes_its_store_along",),
    ),
    Fault(
        "an unexpected exception in the restoring thread",
        "its call raises",
        "the worker ends",
        ("test_a_restore_that_breaks_ends_its_worker",),
        "as expected; found and fixed: it stayed, and did nothing",
    ),
    Fault(
        "a client that raises in the middle of a transaction, while it flushes",
        "the call raises",
        "the commit is unknown and read back, the worker continues",
        ("test_a_client_that_breaks_in_a_transaction_leaves_its_commit_unknown",),
    ),
    Fault(
        "the group refuses a worker's client for good, as when its coordinator dies "
        "while it takes the worker in",
        "somebody joins under its instance id for a moment, under load",
        "another client joins in the same process; nothing twice",
        ("test_a_worker_that_the_group_refuses_joins_anew",),
        "as expected; before, the worker ended with 75",
    ),
    Fault(
        "the same twice within half a minute",
        "the same, twice",
        "another process has its identity: it ends with 75 and says so",
        ("test_a_worker_that_is_refused_again_and_again_ends",),
    ),
    Fault(
        "events as large as Segment allows, while nothing can be delivered",
        "4,000 of 32 KB, Wootric answers 503",
        "read no further than `KAFKA__UNSETTLED_BYTES_MAX` and what is in transit, bounded memory",
        ("test_large_events_are_held_by_their_bytes",),
        "as expected; before, only their number was bounded",
    ),
    Fault(
        "a bad record that is larger than a dead letter may be: its producer compressed "
        "it better, or it has 12 MB",
        "published compressed by zstd: random base64, and zeros",
        "a dead letter without its bytes, everything continues",
        ("test_a_record_that_fits_into_no_letter_holds_nothing_up",),
        "as expected; before, every transaction was aborted, for ever",
    ),
    Fault(
        "a burst of bad records, and topics that accept 100 KB at most",
        "400 of 5 KB",
        "no batch of dead letters is larger than their topic accepts",
        ("test_letters_together_are_not_larger_than_their_topic_takes",),
        "as expected; before, the same",
    ),
    Fault(
        "a record with a header whose name is not text",
        "published by the C client",
        "a dead letter, everything continues",
        ("test_a_header_whose_name_is_no_text_stops_nothing",),
        "as expected; found and fixed: the client raises, and the worker ended at every start",
    ),
    Fault(
        "traits whose flat names repeat long keys, lists of huge numbers",
        "32 KB that become 100 MB",
        "refused for their expanded size, before it is in memory",
        ("test_properties_do_not_grow_beyond_all_bounds",),
        "as expected; found and fixed",
    ),
    Fault(
        "a look-up that is answered 200 with a page that is not JSON",
        "the emulator",
        "tried again later; nobody is created twice, or taken for deleted",
        ("test_a_look_up_that_can_not_be_read_does_not_say_that_nobody_is_there",),
        "as expected; found and fixed",
    ),
    Fault(
        "a registry whose answers come in pieces",
        "the tests' gate sends 1,400 bytes at a time",
        "read to the end",
        ("test_while_the_registry_is_away_its_records_wait_and_others_flow",),
        "as expected; found and fixed: each was taken for none",
    ),
)
"""Numbered from 1 in this order."""

NOT_SHOWN = (
    (
        "a bulk reply in which some items fail, are missing or swapped",
        "Wootric has no bulk call",
    ),
    (
        "an idempotency key that expired, is still in use, or is used for another body",
        "Wootric documents none, and none is sent",
    ),
    (
        "a power cut under the store",
        "RocksDB syncs what its manifest names; the tests only kill processes",
    ),
    (
        "a machine frozen between check and write for longer than the next owner waits",
        "no check in this process can close the gap; see the guarantee",
    ),
    (
        "an effect later than the quiet period",
        "the same; row 72 shows what then happens",
    ),
    (
        "a proxy that repeats a response or decline by itself",
        "Wootric gets two requests and holds two; the service cannot know",
    ),
    (
        "the machine's clock set while the clients sleep",
        "only the worker's own clock is changed: setting the machine's would change everybody's",
    ),
    (
        "an hour of everything at random",
        "`make soak`, three brokers and three workers; too long for `make test`",
    ),
)
"""What no test shows, and why."""
