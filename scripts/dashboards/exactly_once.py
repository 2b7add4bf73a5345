"""Books, transactions, doubts, dead letters."""

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate, stat

EXACTLY_ONCE = Dashboard(
    uid="wootric-exactly-once",
    title="Wootric: exactly once and dead letters",
    rows=[
        [
            stat(
                "Unaccounted records",
                "Consumed less settled, relinquished and in flight. Anything but 0 is a defect.",
                "short",
                "sum(abs(wootric_records_unaccounted{$scope}))",
                red_above=1,
            ),
            stat(
                "Oldest doubt",
                "Worry above 15 minutes.",
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
                "Events that wait for a person.",
                "short",
                'sum(increase(wootric_records_settled_total{$scope,outcome="parked"}[1d]))',
                red_above=1,
            ),
        ],
        [
            Panel(
                title="Transactions",
                says="aborted ones come again; worry when they are more than a few percent.",
                unit="reqps",
                queries={"{{outcome}}": rate("wootric_transactions_total", "outcome")},
            ),
            Panel(
                title="Transaction time",
                says="Every request waits for one.",
                unit="s",
                queries=quantiles("wootric_transaction_duration_seconds"),
            ),
        ],
        [
            Panel(
                title="Settled, by outcome",
                says="Every record ends as one of the five.",
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
                title="Attempts without an answer",
                says="Each closes its end user's lane for the quiet period.",
                unit="reqps",
                queries={"{{operation}}": rate("wootric_ambiguous_outcomes_total", "operation")},
            ),
            Panel(
                title="Doubts resolved",
                says="How they ended; in_doubt means looked at again later.",
                unit="reqps",
                queries={"{{result}}": rate("wootric_in_doubt_checks_total", "result")},
            ),
            Panel(
                title="Values left out",
                says="Delivered without a value that could not be read.",
                unit="reqps",
                queries={"{{note}}": rate("wootric_invalid_fields_total", "note")},
            ),
        ],
        [
            Panel(
                title="In flight, and left to others",
                says="Read and not settled; and what was left to the next owner.",
                unit="short",
                queries={
                    "in flight": "sum(wootric_records_in_flight{$scope})",
                    "relinquished": "sum(increase(wootric_records_relinquished_total{$scope}[1h]))",
                },
            ),
            Panel(
                title="Ledger entries",
                says="Keys: the dedupe window's events and all known users; what a disk refused.",
                unit="short",
                queries={
                    "{{instance}}": "wootric_ledger_entries{$scope}",
                    "{{instance}} not on disk": "wootric_state_unwritten_entries{$scope}",
                },
            ),
            Panel(
                title="State on disk",
                says="Size of the stores below STATE__DIR; nothing where state is in memory.",
                unit="bytes",
                queries={"{{instance}}": "wootric_state_disk_bytes{$scope}"},
            ),
        ],
    ],
)
