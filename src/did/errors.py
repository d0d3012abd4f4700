"""The one exception that `did` raises for something the user can fix."""

import difflib
from collections.abc import Iterable


class DidError(Exception):
    """One clear sentence that names the thing and says what to do about it.

    In a notebook only that sentence is shown, not the stack: IPython asks an exception for
    `_render_traceback_`. The cell still fails, so papermill and nbval exit with a status that is not 0.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return the end of an error sentence: the valid word nearest to a mistyped one, and all valid words."""
    words = sorted(valid)
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}valid: {', '.join(words)}"
