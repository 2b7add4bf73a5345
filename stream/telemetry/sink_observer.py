"""What the sink tells of the account, the pace and who is who: metrics and log lines."""

import structlog

from stream.telemetry.credentials import look_at
from stream.telemetry.metrics import Metrics

log = structlog.get_logger()


class SinkObserver:
    """Listens to the sink; never decides anything. ``by_client``: a client asks for tokens."""

    def __init__(self, metrics: Metrics, *, by_client: bool) -> None:
        self._metrics = metrics
        self._by_client = by_client
        self._refused: tuple[str, int] | None = None

    def token_refused(self, error: str, status: int) -> None:
        """Count a refusal of our credentials, and say it when it is news."""
        self._metrics.token_refusals.labels(error).inc()
        if self._refused != (error, status):
            self._refused = (error, status)
            log.error(
                "credentials_refused",
                error=error,
                status=status,
                look_at=look_at(error, status, by_client=self._by_client),
                effect="nothing is sent, nothing is lost; asked again until it is accepted",
            )

    def token_refreshed(self, granted: bool) -> None:
        """Count a token that was asked for, and note that the credentials are accepted again."""
        self._metrics.tokens.labels("granted" if granted else "refused").inc()
        if granted and self._refused is not None:
            self._refused = None
            log.info("credentials_accepted")

    def concurrency_changed(self, host: str, limit: int) -> None:
        """Show how many requests may be under way."""
        self._metrics.concurrency_limit.labels(host).set(limit)

    def allowance_changed(self, host: str, remaining: int, limit: int) -> None:
        """Show what the account has left."""
        self._metrics.rate_remaining.labels(host).set(remaining)
        self._metrics.rate_limit.labels(host).set(limit)

    def pace_changed(self, requests_per_minute: float) -> None:
        """Show this worker's part of the pace."""
        self._metrics.rate_share.set(requests_per_minute)

    def identity_conflict(self, kind: str, request_id: str) -> None:
        """Count identities that clash; the receipts of the events name the request."""
        self._metrics.identity_conflicts.labels(kind).inc()
        log.info("identity_conflict", kind=kind, request_id=request_id)
