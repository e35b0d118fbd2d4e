"""What a database says of values that it can never take, as against one that cannot be used now."""

from __future__ import annotations

from flowyard.exceptions import ValueNotStorable

# By SQLSTATE: a value out of range or of a wrong form; more than a row, an index or a statement can have.
_CLASSES = ("22", "54")
_SIGNS = (
    "too large to convert to sqlite integer",
    "too many sql variables",
    "number of parameters must be between",
    "string or blob too big",
    "expression tree is too large",
    "parser stack overflow",
    "pattern too complex",
    "cannot contain nul",
    "surrogates not allowed",
)


def refusal_of(error: Exception) -> ValueNotStorable | None:
    """Return the error that says so, if a driver has refused a value; None for every other error.

    Sending the same again would not help, and the database is well.
    """
    cause: BaseException = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split())
    state: str | None = getattr(cause, "sqlstate", None)
    is_refused = state[:2] in _CLASSES if state else any(sign in text.lower() for sign in _SIGNS)
    return ValueNotStorable(text) if is_refused else None
