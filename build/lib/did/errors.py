"""The one exception that `did` raises for something the user can mend."""


class DidError(Exception):
    """One clear sentence that names the thing and says what to do about it.

    In a notebook only that sentence is shown, not the stack: IPython asks an exception for
    `_render_traceback_`. The cell still fails, so papermill and nbval exit with a status that is not 0.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]
