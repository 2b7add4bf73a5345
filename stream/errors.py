"""Errors, named by the reaction that they demand."""


class StreamError(Exception):
    """Something the stream has a reaction to."""


class RecordError(StreamError):
    """This record can never be delivered: dead letter, go on.

    ``reason`` is a word from a bounded set, ``detail`` says what is wrong without
    quoting a person's data.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DecodeError(RecordError):
    """The bytes are no event."""


class TransformError(RecordError):
    """The event can not be mapped to an operation."""


class UnknownSchemaError(DecodeError):
    """The schema is not known (yet): wait, then dead letter."""


class CommitAbortedError(StreamError):
    """Nothing of the checkpoint was committed: keep it and commit again."""


class FencedError(StreamError):
    """Another live worker owns our transactional id: leave."""


class KafkaUnavailableError(StreamError):
    """A client is beyond repair: end, and let the supervisor start again."""


class StateStoreError(StreamError):
    """What is known of a partition cannot be read any more: end, and restore it from the ledger."""


class StartupError(StreamError):
    """The service cannot start; the message says what to do.

    ``exit_code`` follows sysexits: 69 unavailable, 75 temporary, 77 permission,
    78 configuration.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
