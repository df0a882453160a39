"""Sections of the report as HTML: headings, sentences, lists, and tables that fold on a phone. Text is escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from training.report.marks import inline
from training.report.sections import Block, Bullets, Section, Table

WIDE: Final = 5
"""Columns from which on a table folds on a phone."""
SHADES: Final = 5


def draw_contents(sections: Sequence[Section]) -> str:
    """Return links to the sections."""
    links = "".join(
        f'<li><a href="#{html.escape(section.key)}">{inline(section.title)}</a></li>' for section in sections
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def draw_section(section: Section, more: str = "", kind: str = "") -> str:
    """Return a section with its blocks, followed by the HTML `more`; `kind` is an attribute of its tag."""
    key = html.escape(section.key)
    heading = f'<h{section.level} id="{key}-title">{inline(section.title)}</h{section.level}>'
    inside = "\n".join([heading, _blocks(section), more])
    return f'<section id="{key}"{kind} aria-labelledby="{key}-title">\n{inside}\n</section>'


def draw_fold(section: Section) -> str:
    """Return a section folded behind its title."""
    inside = _blocks(section)
    return f'<details id="{html.escape(section.key)}"><summary>{inline(section.title)}</summary>{inside}</details>'


def _blocks(section: Section) -> str:
    """Return the section's blocks; neighbouring tables stand side by side where there is room."""
    parts: list[str] = []
    for is_table, run in groupby(section.blocks, lambda block: isinstance(block, Table)):
        drawn = [_block(block, section) for block in run]
        parts += [f'<div class="split-tables">{"".join(drawn)}</div>'] if is_table and len(drawn) > 1 else drawn
    return "\n".join(parts)


def _block(block: Block, section: Section) -> str:
    if isinstance(block, Table):
        return _table(block, section)
    if isinstance(block, Bullets):
        return f"<ul>{''.join(f'<li>{inline(item)}</li>' for item in block.items)}</ul>"
    return f"<p>{inline(block)}</p>"


def _table(table: Table, section: Section) -> str:
    wide = " wide" if len(table.headers) >= WIDE else ""
    heads = "".join(
        f'<th scope="col"{_class(_kind(table, place))}>{html.escape(head)}</th>'
        for place, head in enumerate(table.headers)
    )
    rows = "".join(f"<tr>{_row(row, table)}</tr>" for row in table.rows)
    name = html.escape(re.sub(r"[`*]", "", section.title))
    return (
        f'<div class="scroller" role="region" tabindex="0" aria-label="{name}, table">'
        f'<table class="figures{wide}"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _kind(table: Table, place: int) -> str:
    """Return a cell's CSS class by its column."""
    head = table.headers[place]
    return head if head in {"note", "reached"} else "number" if place >= table.words else ""


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _row(row: Sequence[str], table: Table) -> str:
    kinds = [_cell_kind(_kind(table, place), text) for place, text in enumerate(row)]
    shades = _shades(row[table.words :]) if table.is_shaded else ()
    for place, step in enumerate(shades, start=table.words):
        kinds[place] += f" shade-{step}"
    first, *others = (inline(cell) for cell in row)
    cells = [
        f'<td{_class(kind)} data-head="{html.escape(head)}">{text}</td>'
        for text, head, kind in zip(others, table.headers[1:], kinds[1:], strict=True)
    ]
    return f'<th scope="row">{first}</th>{"".join(cells)}'


def _shades(counts: Sequence[str]) -> list[int]:
    """Return the shade 0..5 of each count by its share of the row, as on the service's model page."""
    numbers = [int(count) for count in counts]
    return [math.ceil(SHADES * number / max(1, sum(numbers))) for number in numbers]


def _cell_kind(kind: str, text: str) -> str:
    return f"reached reached-{text.partition(' ')[0]}" if kind == "reached" else kind
