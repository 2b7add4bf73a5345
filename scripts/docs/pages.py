"""All generated pages."""

from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.docs import commands, protocol, reference
from scripts.docs.sources import DOCS

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/settings.md": reference.settings,
    "reference/cli.md": commands.cli,
    "reference/exit-codes.md": reference.exit_codes,
    "reference/http.md": reference.http,
    "reference/metrics.md": reference.metrics,
    "reference/log-events.md": reference.log_events,
    "reference/reasons.md": reference.outcomes,
    "reference/halt-reasons.md": reference.halt_reasons,
    "reference/bridge-answers.md": reference.bridge_answers,
    "reference/alerts.md": reference.alerts,
    "reference/dashboards.md": reference.dashboards,
    "reference/chart-values.md": reference.chart_values,
    "reference/topics.md": reference.topics,
    "reference/schemas.md": reference.schemas,
    "reference/mapping.md": reference.mapping,
    "reference/dates.md": reference.dates,
    "reference/emulator-switches.md": protocol.emulator_switches,
    "explanation/faults.md": protocol.faults,
    "explanation/safeguards.md": protocol.safeguards,
    "runbooks/index.md": reference.runbooks,
    "decisions/index.md": protocol.decisions,
}
"""Each page, and the function that returns its content."""


def files() -> dict[Path, str]:
    """Return the content of every generated page by its path."""
    return {DOCS / name: make() for name, make in PAGES.items()}
