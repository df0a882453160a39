"""Marks in the report's sentences and cells, as in Markdown: `code`, *emphasis*, **strong**; and escaped text.

Names from outside (of a pool, a file) go through `plain` or `code` on their way into a section, so that they read the
same in the card's Markdown and in report.html.
"""

from __future__ import annotations

import html
import re
from typing import Final

MARKS: Final = (
    (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*(.+?)\*"), r"<em>\1</em>"),
)
SPECIAL: Final = re.compile(r"[\\`*|<>&\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters that Markdown may read as a mark, as HTML or as the end of a cell; not an underscore within a word."""
AS_IT_IS: Final = re.compile(r"\\([\\`*|<>&\[\]~_])|`([^`]+)`")
PLACE: Final = re.compile(r"\0(\d+)\0")


def plain(text: str) -> str:
    """Return the text on one line, with a backslash before every character that has a meaning in Markdown."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.replace("\0", "").split()))


def code(text: str) -> str:
    """Return the text as `code`; as `plain` where a character in it would end the code or the cell."""
    return plain(text) if re.search(r"[`|]|[^\S ]", text) or not text else f"`{text}`"


def inline(text: str) -> str:
    """Return the text as HTML: escaped, its marks as elements; `code` and escaped characters have no marks."""
    literals: list[str] = []

    def keep(match: re.Match[str]) -> str:
        literals.append(f"<code>{html.escape(match[2])}</code>" if match[2] else html.escape(match[1]))
        return f"\0{len(literals) - 1}\0"

    drawn = html.escape(AS_IT_IS.sub(keep, text.replace("\0", "")))
    for mark, element in MARKS:
        drawn = mark.sub(element, drawn)
    return PLACE.sub(lambda match: literals[int(match[1])], drawn)
