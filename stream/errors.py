"""Exceptions, distinguished by the required reaction."""

from collections.abc import Sequence


class StreamError(Exception):
    """Base class of errors that the stream handles."""


class RecordError(StreamError):
    """The record can never be delivered and becomes a dead letter.

    ``reason`` is a word from a bounded set, ``detail`` describes the error without
    quoting personal data.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DecodeError(RecordError):
    """The bytes are not a valid event."""


class TransformError(RecordError):
    """The event cannot be mapped to an operation."""


class UnknownSchemaError(DecodeError):
    """The schema is not known yet: wait, then dead-letter the record."""


class CommitAbortedError(StreamError):
    """The checkpoint was not committed: keep it and commit again."""


class FencedError(StreamError):
    """Another live worker owns the transactional id: stop."""


class KafkaUnavailableError(StreamError):
    """A client failed permanently: exit, and let the supervisor restart."""


class StateStoreError(StreamError):
    """A state store cannot be read or written: exit, and restore it from the ledger."""


class StartupError(StreamError):
    """The service cannot start; the message contains the fix.

    ``exit_code`` follows sysexits: 69 unavailable, 75 temporary, 77 permission,
    78 configuration.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class InvalidSettingsError(StartupError):
    """Settings are missing, unknown or out of bounds; ``problems`` are all of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        hint = "`wootric-stream settings NAME` explains a setting"
        super().__init__("\n  ".join(["invalid settings:", *problems, hint]), exit_code=78)
        self.problems = problems
