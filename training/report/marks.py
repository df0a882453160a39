"""Marks in the report's sentences and cells, as in Markdown: `code`, *emphasis*, **weight**; and text that has none.

What others named (a pool, a file) goes through `plain` or `code` on its way into a section, so that it shows as it is
in the card's Markdown and in report.html alike.
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
"""What Markdown may read as a mark, as HTML or as the end of a cell; an underscore within a word is none."""
AS_IT_IS: Final = re.compile(r"\\([\\`*|<>&\[\]~_])|`([^`]+)`")
PLACE: Final = re.compile(r"\0(\d+)\0")


def plain(text: str) -> str:
    """The text on one line, with a backslash before whatever Markdown would read otherwise."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.replace("\0", "").split()))


def code(text: str) -> str:
    """The text as `code`; plain where it holds what would end the code or the cell."""
    return plain(text) if re.search(r"[`|]|[^\S ]", text) or not text else f"`{text}`"


def inline(text: str) -> str:
    """The text as HTML: escaped, its marks as elements; within `code`, and behind a backslash, nothing is a mark."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(f"<code>{html.escape(found[2])}</code>" if found[2] else html.escape(found[1]))
        return f"\0{len(kept) - 1}\0"

    drawn = html.escape(AS_IT_IS.sub(keep, text.replace("\0", "")))
    for mark, element in MARKS:
        drawn = mark.sub(element, drawn)
    return PLACE.sub(lambda found: kept[int(found[1])], drawn)
