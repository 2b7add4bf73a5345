"""One Kafka for all processes of a run: the first that asks for it has it started.

pytest-xdist's first process runs no test. It listens on loopback, starts a broker when one of the
others asks, tells all of them the same address, and ends it when they are gone.
"""

import secrets
import sys
from contextlib import ExitStack, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from threading import Thread
from typing import Any

from stream.errors import StartupError
from stream.local.broker import broker

HOST = "127.0.0.1"
WAITING_MAX = 64
"""So many processes may ask at once."""
WHERE = "where is it?"
END = "nobody will ask any more"


class OneBroker:
    """Answers who asks for the broker; where nobody does, there is none."""

    def __init__(self) -> None:
        key = secrets.token_bytes(16)
        self._listener = Listener((HOST, 0), backlog=WAITING_MAX, authkey=key)
        self._broker = ExitStack()
        self._answer: tuple[str, str] | None = None
        self._thread = Thread(target=self._serve, name="one-broker", daemon=True)
        self._thread.start()
        self.door = {"port": self._listener.address[1], "key": key}
        """What `ask` needs to know."""

    def end(self) -> None:
        """End the broker, if there is one, also if it is about to start."""
        with _knock(self.door) as connection:
            connection.send(END)
        self._thread.join()
        self._listener.close()
        self._broker.close()

    def _serve(self) -> None:
        while True:
            with (
                suppress(OSError, EOFError, AuthenticationError),  # whoever asked is gone
                self._listener.accept() as connection,
            ):
                if connection.recv() == END:
                    return
                self._answer = self._answer or self._start()
                connection.send(self._answer)

    def _start(self) -> tuple[str, str]:
        try:
            return self._broker.enter_context(broker(say=tell)), ""
        except Exception as error:  # noqa: BLE001  who asks shall know it
            return "", f"{error}"


def tell(line: str) -> None:
    """Say how the broker's start goes on."""
    print(line, file=sys.stderr)


def ask(door: dict[str, Any]) -> str:
    """Return the bootstrap servers of the run's broker.

    Raises:
        StartupError: no Kafka can be had.
    """
    with _knock(door) as connection:
        connection.send(WHERE)
        address, why_not = connection.recv()
    if why_not:
        raise StartupError(why_not, exit_code=69)
    return str(address)


def _knock(door: dict[str, Any]) -> Any:
    return Client((HOST, door["port"]), authkey=door["key"])
