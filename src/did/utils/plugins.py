"""Plugins: Python files or modules of a user's own, which register tasks and layouts."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from did.errors import DidError
from did.utils.files import given_path


def load_plugin(named: str | Path) -> ModuleType:
    """Import a plugin once, so that what it registers is known.

    Args:
        named: a Python file, or the name of a module that can be imported.

    Raises:
        DidError: If there is none, or it does not import; the sentence gives the reason.
    """
    file = given_path(named, "plugin")
    name = f"did_plugin_{file.stem}" if file.suffix == ".py" else str(named)
    try:
        if file.suffix != ".py":
            return importlib.import_module(name)
        known = sys.modules.get(name)
        if known is not None and known.__file__ == str(file.resolve()):
            return known
        spec = importlib.util.spec_from_file_location(name, file.resolve())
        if spec is None or spec.loader is None:
            raise ImportError("it is not a Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
    except DidError:
        raise
    except Exception as error:  # Its code is the user's: it may raise anything.
        raise DidError(f"the plugin {named} cannot be imported ({type(error).__name__}: {error}); fix it") from error
