"""A small extension of Sphinx for the API reference: what our docstrings and type hints need besides napoleon."""

import dataclasses
import re
from typing import Any

from numpy.typing import ArrayLike, NDArray
from sphinx.util.typing import stringify_annotation

# numpy's aliases as autodoc spells them out.
_LIKE, _BARE, _ANY = (stringify_annotation(alias, "smart") for alias in (ArrayLike, NDArray, NDArray[Any]))
_ARRAY = re.compile(re.escape(_ANY.removesuffix("~typing.Any]]")) + r"([^\[\]]+)\]\]")


def untyped(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep a colon in `Returns:`, or in the words on a constant, from being read as the end of a type.

    Args:
        lines: the docstring; changed in place.
    """
    if what in ("attribute", "data", "property") and lines:
        lines[0] = f": {lines[0]}"
    for number, line in enumerate(lines[:-1]):
        if line == "Returns:":
            lines[number + 1] = re.sub(r"^ +", r"\g<0>: ", lines[number + 1])


def described_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """List the fields of `did.settings.Settings` with their meaning and their place in the paper.

    Args:
        lines: the docstring; added to in place.
    """
    fields = dataclasses.fields(obj) if what == "class" and dataclasses.is_dataclass(obj) else ()
    if said := [field for field in fields if "says" in field.metadata]:
        lines += ["", "Attributes:"]
        lines += [f"    {field.name}: {field.metadata['says']} ({field.metadata['where']})" for field in said]


def legible_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Shorten signatures: numpy's aliases by name, and none for a class without a constructor of its own."""
    if signature == "(*args, **kwargs)":
        return "", returned
    return signature and _short(signature), returned and _short(returned)


def _short(hints: str) -> str:
    return _ARRAY.sub(r"NDArray[\1]", hints.replace(_LIKE, "ArrayLike").replace(_BARE, "NDArray"))


def setup(app: Any) -> dict[str, bool]:
    """Register the functions above with Sphinx."""
    for hook in (untyped, described_fields):
        app.connect("autodoc-process-docstring", hook, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-signature", legible_signature)
    return {"parallel_read_safe": True}
