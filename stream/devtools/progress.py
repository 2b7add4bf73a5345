"""Progress on stderr: a bar on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

PLAIN_EVERY_S = 2.0


class Progress:
    """Tells a person how far it is."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: Bar | None = None
        self._said_at = 0.0
        self._began: tuple[float, int] | None = None

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(line, markup=False)

    def show(self, settled: int, total: int, *, kills: int) -> None:
        """Show how many of the events are settled."""
        now = time.monotonic()
        if self._began is None and settled:
            self._began = (now, settled)
        if self._console.is_terminal:
            self._show_bar(settled, total, kills)
        elif now - self._said_at >= PLAIN_EVERY_S:
            self._said_at = now
            self.say(f"{settled} of {total} events settled{self._rate(settled, now)}")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _rate(self, settled: int, now: float) -> str:
        if self._began is None or now - self._began[0] < 1:
            return ""
        return f", {(settled - self._began[1]) / (now - self._began[0]):,.0f} a second"

    def _show_bar(self, settled: int, total: int, kills: int) -> None:
        if self._bar is None:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.add_task("settled", total=total)
            self._bar.start()
        task = self._bar.task_ids[0]
        description = f"settled, {kills} x kill -9" if kills else "settled"
        self._bar.update(task, completed=settled, total=total, description=description)
