"""Dashboard of accounting, transactions, requests in doubt and dead letters."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate, stat

EXACTLY_ONCE = Dashboard(
    uid="wootric-exactly-once",
    title="Wootric: exactly once and dead letters",
    rows=[
        [
            stat(
                "Unaccounted records",
                "Consumed - settled - relinquished - in flight. Any value except 0 is a bug.",
                "short",
                "sum(abs(wootric_records_unaccounted{$scope}))",
                red_above=1,
            ),
            stat(
                "Oldest in doubt",
                "Age of the oldest request in doubt. Investigate above 15 minutes.",
                "s",
                "max(wootric_in_doubt_oldest_seconds{$scope})",
                red_above=900,
            ),
            stat(
                "Rejected, last day",
                "Dead letters written.",
                "short",
                'sum(increase(wootric_records_settled_total{$scope,outcome="rejected"}[1d]))',
            ),
            stat(
                "Parked, last day",
                "Events that require an operator's decision.",
                "short",
                'sum(increase(wootric_records_settled_total{$scope,outcome="parked"}[1d]))',
                red_above=1,
            ),
        ],
        [
            Panel(
                title="Transactions",
                says="Aborted ones are retried; investigate above a few percent.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_transactions_total", "outcome")},
            ),
            Panel(
                title="Transaction time",
                says="Every request waits for a transaction.",
                unit="s",
                queries=quantiles("wootric_transaction_duration_seconds"),
            ),
        ],
        [
            Panel(
                title="Settled, by outcome",
                says="Every record ends with one of five outcomes.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_records_settled_total", "outcome")},
                stacked=True,
            ),
            Panel(
                title="Settled, by outcome and reason",
                says="docs/reference/reasons.md explains each reason.",
                unit="reqps",
                queries={
                    "{{outcome}} {{reason}}": rate(
                        "wootric_records_settled_total", "outcome, reason"
                    )
                },
            ),
        ],
        [
            Panel(
                title="In doubt",
                says="Events whose request may have been executed.",
                unit="short",
                queries={"{{instance}}": "wootric_in_doubt_records{$scope}"},
            ),
            Panel(
                title="Attempts without a reply",
                says="Each blocks its end user's lane for the quiet period.",
                unit="reqps",
                queries={"{{operation}}": rate("wootric_ambiguous_outcomes_total", "operation")},
            ),
            Panel(
                title="Checks of requests in doubt",
                says="By result; in_doubt means that the check is repeated later.",
                unit="reqps",
                queries={"{{result}}": rate("wootric_in_doubt_checks_total", "result")},
            ),
            Panel(
                title="Invalid values",
                says="Events with a value that cannot be used and was left out.",
                unit="reqps",
                queries={"{{note}}": rate("wootric_invalid_fields_total", "note")},
            ),
        ],
        [
            Panel(
                title="In flight and relinquished",
                says="Records read but not settled, and records left to the next owner.",
                unit="short",
                queries={
                    "in flight": "sum(wootric_records_in_flight{$scope})",
                    "relinquished": "sum(increase(wootric_records_relinquished_total{$scope}[1h]))",
                },
            ),
            Panel(
                title="Ledger entries",
                says="Keys: events of the dedupe window and all known users.",
                unit="short",
                queries={"{{instance}}": "wootric_ledger_entries{$scope}"},
            ),
            Panel(
                title="State on disk",
                says="Size of the stores under STATE__DIR; empty if state is in memory.",
                unit="bytes",
                queries={"{{instance}}": "wootric_state_disk_bytes{$scope}"},
            ),
        ],
    ],
)
