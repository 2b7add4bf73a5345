"""How commands talk: stdout is data, stderr is talk, and every end has its exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from stream.errors import Fenced, KafkaFailed, StartupError, StateFailed

EXIT_FAILED = 1
EXIT_TEMPORARY = 75


def say(line: str) -> None:
    """Tell the person at the terminal."""
    typer.echo(line, err=True)


@contextmanager
def told() -> Iterator[None]:
    """Turn what stops a command into a message and an exit code."""
    try:
        yield
    except StartupError as error:
        fail(str(error), error.exit_code)
    except (Fenced, KafkaFailed, StateFailed) as error:
        fail(str(error), EXIT_TEMPORARY)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except typer.Exit:
        raise
    except Exception as error:
        from stream.kafka.errors import explained  # noqa: PLC0415  only who has trouble pays

        known = explained(error)
        if known is None:
            raise
        fail(str(known), known.exit_code)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a message."""
    say(f"wootric-stream: {message}")
    raise typer.Exit(code)
