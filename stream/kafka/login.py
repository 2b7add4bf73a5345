"""Name and password for SASL that change while clients live."""

import time
from collections.abc import Iterable
from typing import Any

import structlog

from stream.kafka.config import KafkaConfig

log = structlog.get_logger()

LOOK_EVERY_S = 5.0


class LoginWatch:
    """Gives clients that stay the credentials that have changed since they were made.

    Connections that are open stay open, as the brokers have it; the next one that is made, or
    that has to say again who it is, says it with the new ones.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._known = config.login()
        self._look_at = time.monotonic() + LOOK_EVERY_S

    def renew(self, clients: Iterable[Any]) -> None:
        """Look whether they have changed, if some seconds went by since the last look."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        login = self._config.login()
        if login is None or login == self._known:
            return
        self._known = login
        for client in clients:
            client.set_sasl_credentials(*login)
        log.info("kafka_login_changed")
