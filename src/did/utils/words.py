"""Text that is not ours, such as names of files and credits, where it is read as Markdown or HTML.

Whatever shows such a text in a page or a notebook takes `quoted`, so that it is read as text and as nothing else.
"""

import re
from collections.abc import Iterable

# What means something in Markdown, in HTML or between the quotes of an attribute. A reference such as &#42; stands for
# its character in all of them, and is never markup itself.
_MARKUP = re.compile(r"""[&<>"'`*_\[\]|$\\{}~^#!@]""")


class Words(str):
    """Text that a notebook shows as Markdown."""

    def _repr_markdown_(self) -> str:
        return str(self)


def encodable(text: str) -> str:
    r"""Return a text that can be written in UTF-8.

    A byte of a file's name that is not UTF-8, which Python represents as a lone surrogate, becomes `\xe9` or the like.
    """
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text)


def plain(text: str) -> str:
    """Return a text in one line that any terminal, file and page can show; other characters become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in encodable(text))


def lines_of(error: Exception) -> list[str]:
    """Return the lines of what another library's error says, or its kind if it says nothing."""
    return [line.strip()[:200] for line in str(error).strip().splitlines()] or [type(error).__name__]


def first_line(error: Exception) -> str:
    """Return the first line of what another library's error says, or its kind if it says nothing."""
    return lines_of(error)[0]


def quoted(text: str) -> str:
    """Escape a text for Markdown or HTML so that it is shown literally, in one line.

    `html.unescape` gives `plain(text)` back.
    """
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", plain(text))


def code(text: str) -> str:
    """Format a text as code in Markdown, between as many backticks as are needed."""
    text = plain(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def line(text: str) -> Words:
    """Format a text as a paragraph for a notebook to show."""
    return Words(quoted(text))


def bullets(sentences: Iterable[str]) -> Words:
    """Format sentences as a list for a notebook to show."""
    return Words("\n".join(f"- {quoted(sentence)}" for sentence in sentences))


def credited(*data: tuple[str, str]) -> Words:
    """Format the description of the data, in bold, and their attribution, for the head of a notebook.

    Args:
        data: for each data set its `Source.banner`, or a stamp that begins with it, and its `Source.credit`.
    """
    return Words("> " + "  \n> ".join(f"**{quoted(banner)}** {quoted(credit)}" for banner, credit in data))
