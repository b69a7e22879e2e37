"""Everything that this package raises on purpose.

SecondpassError
├── InvalidInputError       the caller's request or file is at fault
│   ├── UnprocessableTextError  a text is empty or too long after cleaning
│   ├── DuplicateKeyError   a key appears twice in one JSON object
│   └── AnswerTooLargeError  the answer to a search would be too large
├── ModelError
│   ├── UnknownModelError   no registry entry, folder or hub name fits
│   ├── ModelSourceError    a source is there but cannot be read or verified
│   └── InferenceError      a model gave scores or vectors that are not finite
├── TrainingError           a training cannot start or go on
├── StoreError              the data folder cannot be read or written
│   ├── StoreLockedError    another process owns the data folder
│   ├── StoreFullError      the disk is full
│   ├── StoreLostError      a file was removed or replaced while it was in use
│   ├── IndexMismatchError  the index was made with another model, prefix or normalizer
│   └── IndexDamagedError   a generation's file is missing or differs from its checksum
├── OverloadedError         the queue is full
├── ForbiddenError          the API key does not allow it
├── DeadlineError           the time that the caller allowed ran out before any answer
├── NotReadyError           models or index are still loading
├── NotFoundError           what the caller names is not there
├── CursorExpiredError      the pages of a search are no longer kept
├── ConflictError           what is there does not allow it
│   └── VersionConflictError  a document is not as the caller expects it
└── NotAvailableError       this server was not set up for what is asked

Messages are for the person who can fix the problem. The HTTP edge maps classes to status
codes in one table (`service.api.error_table`).
"""


class SecondpassError(Exception):
    """Base of every error of this package."""

    @property
    def public(self) -> str:
        """What a client may read of it: store and model errors name the server's folders."""
        return str(self)


class InvalidInputError(SecondpassError):
    """The caller's input breaks a stated rule; `field` names where, when that is known."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnprocessableTextError(InvalidInputError):
    """A text is empty, too long or not valid Unicode once it is cleaned."""


class DuplicateKeyError(InvalidInputError):
    """A key appears twice in one JSON object; `field` is its path, places are counted from 1."""

    def __init__(self, key: str, path: str, line: int, column: int) -> None:
        super().__init__(
            f'the key "{key}" appears twice in one object (line {line}, column {column})', path
        )
        self.key, self.path, self.line, self.column = key, path, line, column

    def under(self, name: str) -> "DuplicateKeyError":
        """The same in an object that is the field `name` of another one."""
        return DuplicateKeyError(self.key, f"{name}.{self.path}", self.line, self.column)


class AnswerTooLargeError(InvalidInputError):
    """The hits, with their titles, texts and metadata, are more than an answer may have."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"the answer would have more than {most_bytes} bytes; ask for fewer hits, for fewer "
            "queries, or for return_text: false",
            "top_k",
        )


class ModelError(SecondpassError):
    """A model cannot be found, read or run."""

    @property
    def public(self) -> str:
        return "a model cannot be loaded or run; see the server's log"


class UnknownModelError(ModelError):
    """No registry entry, folder or hub model has this name."""


class ModelSourceError(ModelError):
    """A model's source exists but cannot be read, or fails its checksum."""


class InferenceError(ModelError):
    """A model produced a score or a vector that is not finite."""


class TrainingError(SecondpassError):
    """A training cannot start or go on: a package is missing, or its loss is no number."""


class StoreError(SecondpassError):
    """The data folder cannot be read or written."""

    @property
    def public(self) -> str:
        return "the store cannot be read or written; see the server's log"


class StoreDamagedError(StoreError):
    """A file of the data folder is not what was written."""


class StoreLockedError(StoreError):
    """Another process owns the data folder."""


class StoreFullError(StoreError):
    """The disk is full."""

    @property
    def public(self) -> str:
        return "the disk is full"


class StoreLostError(StoreError):
    """A file of the data folder was removed or replaced while it was in use."""

    @property
    def public(self) -> str:
        return "a file of the data folder was removed or replaced; see the server's log"


class IndexMismatchError(StoreError):
    """The stored vectors belong to another model, prefix, window or normalizer."""


class IndexDamagedError(StoreError):
    """A generation's file is missing or is not what its checksum says."""


class OverloadedError(SecondpassError):
    """The queue is full; try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ForbiddenError(SecondpassError):
    """The request's API key does not allow it."""


class DeadlineError(SecondpassError):
    """The allowed time ran out before stage one had an answer."""


class NotReadyError(SecondpassError):
    """Models or index are not loaded yet."""


class NotFoundError(SecondpassError):
    """What the caller names is not there."""


class CursorExpiredError(SecondpassError):
    """No window is kept for this cursor and this client."""


class ConflictError(SecondpassError):
    """The current state does not allow the change."""


class VersionConflictError(ConflictError):
    """A document's version is not one that the caller's condition allows."""


class NotAvailableError(SecondpassError):
    """This server is not configured for the request. A retry will not help."""
