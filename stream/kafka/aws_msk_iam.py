"""Tokens for Amazon MSK with IAM access control, from AWS's signer (the extra ``aws``).

Source: docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html; a token lasts 15
minutes, and the signer finds the credentials as all AWS clients do: environment, web identity,
profile, instance.
"""

import time
from collections.abc import Callable
from threading import Lock
from types import ModuleType

import structlog

from stream.errors import StartupError

log = structlog.get_logger()

PROPERTIES = {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}
"""What the brokers' port for IAM (9098) speaks."""
LEFT_S_MIN = 60.0
"""Time for a login with the last token; a client asks again after four fifths of what is left."""


def msk_tokens(region: str) -> Callable[[], tuple[str, float]]:
    """Return a function that returns a token and when it expires (Unix seconds).

    Clients of a process share a token until half of its time is over, and while the signer fails
    until ``LEFT_S_MIN`` before its end. Then the function raises what the signer raises, and
    Kafka's client tries again after ten seconds.

    Raises:
        StartupError: the extra is not installed, or there is no first token.
    """
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise StartupError(
            f"KAFKA__AUTH=aws_msk_iam needs {error.name}: `pip install 'wootric-stream[aws]'`, or "
            "build the image with --build-arg EXTRA_LOCK=requirements-aws.lock",
            exit_code=78,
        ) from error
    tokens = _Tokens(MSKAuthTokenProvider, region)
    try:
        tokens()
    except Exception as error:
        raise StartupError(
            f"KAFKA__AUTH=aws_msk_iam: AWS's signer has no token ({type(error).__name__}): give "
            "the process credentials of AWS, on Kubernetes by annotations of its service account",
            exit_code=77,
        ) from error
    return tokens


class _Tokens:
    def __init__(self, signer: ModuleType, region: str) -> None:
        self._signer = signer
        self._region = region
        self._lock = Lock()
        self._token = ""
        self._renew_at = 0.0
        self._expires_at = 0.0

    def __call__(self) -> tuple[str, float]:
        with self._lock:
            if time.time() >= self._renew_at:
                try:
                    self._token, expires_ms = self._signer.generate_auth_token(self._region)
                except Exception as error:
                    log.warning("kafka_token_failed", error=type(error).__name__)
                    if time.time() > self._expires_at - LEFT_S_MIN:
                        raise
                else:
                    self._expires_at = expires_ms / 1000
                    self._renew_at = (time.time() + self._expires_at) / 2
            return self._token, self._expires_at
