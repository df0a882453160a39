"""Sentences have marks; what others named shows as it is, in Markdown and in HTML."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.marks import code, inline, plain

NAMES = ("**bold**.png", "a*b*c", "a|b", "<b>&amp;", "_x_", "[a](b)", "a`b`c", "back\\slash", "covA_1 - plain.png")


def test_marks_are_elements_and_text_is_escaped() -> None:
    """Code, emphasis, weight; marks may stand around code."""
    found = inline("**The `a*b` of** *x* & <y>")
    assert found == "<strong>The <code>a*b</code> of</strong> <em>x</em> &amp; &lt;y&gt;"


@pytest.mark.parametrize("name", NAMES)
def test_names_show_as_they_are(name: str) -> None:
    """Whatever is in them; only that code stays code where it can."""
    assert inline(f"a {plain(name)} b") == f"a {html.escape(name)} b"
    assert re.sub("</?code>", "", inline(code(name))) == html.escape(name)


@given(st.text())
def test_any_text_shows_as_it_is(text: str) -> None:
    """But for its white space, on one line."""
    shown = " ".join(text.replace("\0", "").split())
    assert inline(plain(text)) == html.escape(shown)
    assert not re.search(r"(?<!\\)[|<`*]", plain(text).replace("\\\\", ""))
