"""One error tree, and the one place that turns driver errors into it.

Every error that a person may see is a :class:`VecscopeError`: a sentence that says what is wrong
and where (``message``), one that says what to do (``hint``), and, where a single setting is to
blame, its name (``field``).
"""

from __future__ import annotations

import errno


class VecscopeError(Exception):
    """The root of all errors that Vecscope raises on purpose.

    message: what is wrong, for people, one sentence.
    hint: what to do about it; empty where there is nothing to do.
    field: the name of the setting or argument to blame, if there is one.
    """

    def __init__(self, message: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInput(VecscopeError):
    """What was asked for cannot be done as asked; nothing was changed."""


class DimensionMismatch(InvalidInput):
    """A vector has another number of dimensions than the column or model it meets."""


class InvalidVector(InvalidInput):
    """A vector that no distance is defined for: NaN, infinite, empty, or zero under cosine."""


class LimitExceeded(InvalidInput):
    """A value is outside the limits of pgvector or PostgreSQL."""


class IndexRefused(InvalidInput):
    """An index that could be built, but would be of no use; the message says why."""


class NotFound(VecscopeError):
    """A named thing does not exist (any more)."""


class AlreadyExists(VecscopeError):
    """A thing of that name is already there."""


class Busy(VecscopeError):
    """Another job holds what this one needs."""


class ReadProblem(VecscopeError):
    """A document source could not be read.

    source: the file's name; place: where in it (``line 12``, ``row 3, column "title"``).
    """

    def __init__(self, message: str, *, source: str = "", place: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.place = place


class EmbeddingProblem(VecscopeError):
    """A text could not be turned into a vector."""


class ProviderRejected(EmbeddingProblem):
    """The provider refused the request for good (wrong key, unknown model, bad input)."""


class ProviderUnavailable(EmbeddingProblem):
    """The provider did not answer in time, or kept failing; trying again later may help."""


class DatabaseProblem(VecscopeError):
    """The database did not do what was asked."""


class DatabaseUnreachable(DatabaseProblem):
    """No connection to the server: it is down, restarting, or elsewhere."""


class LoginFailed(DatabaseProblem):
    """The server is there, but refuses this user, password or database name."""


class NotAllowed(DatabaseProblem):
    """The database role lacks a right."""


class UnsupportedServer(DatabaseProblem):
    """PostgreSQL or pgvector is missing or too old."""


class DiskFull(DatabaseProblem):
    """There is no room left where the data lies."""


class StatementCancelled(DatabaseProblem):
    """The statement was cancelled, by a person or by a time limit."""


# SQLSTATE → (class, message, hint). Five letters match exactly, two match the whole class.
# PostgreSQL documentation, appendix A, "PostgreSQL Error Codes".
_SQLSTATES: dict[str, tuple[type[VecscopeError], str, str]] = {
    "28P01": (LoginFailed, "The database refused the password.", "Check DATABASE_URL."),
    "28000": (LoginFailed, "The database refused the login.", "Check the user in DATABASE_URL."),
    "3D000": (
        LoginFailed,
        "The database named in DATABASE_URL does not exist.",
        "Create it, or correct the name.",
    ),
    "42501": (NotAllowed, "The database role is not allowed to do this.", "Ask for the right."),
    "53100": (DiskFull, "The disk of the database is full.", "Free some space, then try again."),
    "53200": (
        DatabaseProblem,
        "The database ran out of memory.",
        "Lower maintenance_work_mem or ask for less at once.",
    ),
    "53300": (
        DatabaseUnreachable,
        "The database has no connection left.",
        "Close other clients or raise max_connections.",
    ),
    "57014": (StatementCancelled, "The statement was cancelled.", ""),
    "57P01": (DatabaseUnreachable, "The database is shutting down.", "It is tried again."),
    "57P02": (DatabaseUnreachable, "The database crashed and is restarting.", "It is tried again."),
    "57P03": (DatabaseUnreachable, "The database is starting up.", "It is tried again."),
    "08": (DatabaseUnreachable, "The connection to the database was lost.", "It is tried again."),
    "42P01": (NotFound, "The table does not exist (any more).", "Reload the page."),
    "42704": (NotFound, "A type, index or role that was named does not exist.", ""),
    "42P07": (AlreadyExists, "A table or index of that name exists already.", "Take another name."),
    "23505": (AlreadyExists, "There is a row with that key already.", ""),
    "55P03": (Busy, "Another session holds the lock that this needs.", "Try again in a moment."),
    "40P01": (Busy, "Two sessions waited for each other.", "Try again."),
    "40001": (Busy, "Another session changed the same rows.", "Try again."),
}


def from_sqlstate(sqlstate: str | None, detail: str) -> VecscopeError:
    """The error for a SQLSTATE (five characters; None where the server gave none).

    detail: the server's own first line; it stays in the message, since it names the object.
    """
    detail = detail.strip().splitlines()[0] if detail.strip() else ""
    found = _SQLSTATES.get(sqlstate or "") or _SQLSTATES.get((sqlstate or "")[:2])
    if found is None:
        return DatabaseProblem(
            f"The database reported: {detail or 'an error without a message'}.",
            hint=f"SQLSTATE {sqlstate}." if sqlstate else "",
        )
    kind, message, hint = found
    return kind(f"{message} ({detail})" if detail else message, hint=hint)


def from_exception(exc: BaseException) -> VecscopeError | None:
    """The error of our tree that says what ``exc`` says, or None where it is not known.

    Looks through SQLAlchemy's wrapper to psycopg's error, without importing either.
    """
    if isinstance(exc, VecscopeError):
        return exc
    original = getattr(exc, "orig", None)
    driver_error = original if isinstance(original, BaseException) else exc
    sqlstate = getattr(driver_error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return from_sqlstate(sqlstate, str(driver_error))
    name = type(driver_error).__name__
    module = type(driver_error).__module__
    if module.startswith("psycopg") and name in {"OperationalError", "InterfaceError"}:
        return _connection_error(str(driver_error))
    if module.startswith("sqlalchemy") and name == "TimeoutError":
        return DatabaseUnreachable(
            "All database connections are in use.", hint="Wait for running work, then try again."
        )
    if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:
        return DiskFull("The disk is full.", hint="Free some space, then try again.")
    return None


def _connection_error(detail: str) -> VecscopeError:
    """psycopg gives no SQLSTATE for a failed connect; libpq's text is all there is."""
    text = detail.lower()
    if "password authentication failed" in text or "no password supplied" in text:
        return from_sqlstate("28P01", "")
    if "role" in text and "does not exist" in text:
        return from_sqlstate("28000", detail)
    if "database" in text and "does not exist" in text:
        return from_sqlstate("3D000", "")
    if "too many" in text:
        return from_sqlstate("53300", "")
    return DatabaseUnreachable(
        "The database cannot be reached.",
        hint="Check that the server runs and that DATABASE_URL names its host and port.",
    )
