"""What is said of bad input: one sentence with what was found, what was expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something given from outside is wrong; the message says what was found, expected, and what to do."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` most like `word`, for "did you mean ...?"; None if none is. Case is ignored."""
    lower = {w.lower(): w for w in words}
    found = difflib.get_close_matches(word.lower(), list(lower), n=1, cutoff=0.6)
    return lower[found[0]] if found else None


def choose(value: str, names: Iterable[str], what: str) -> str:
    """`value` if it is one of `names`.

    Args:
        value: the name given.
        names: those there are.
        what: it names, for the message: "metric".
    Raises:
        InputError: another name, with the nearest one and all there are.
    """
    known = [str(name) for name in names]
    if value not in known:
        near = nearest(str(value), known)
        hint = f"; did you mean {near!r}?" if near else ":"
        raise InputError(f"{what} {value!r} is not known{hint} choose one of {', '.join(known)}.")
    return value
