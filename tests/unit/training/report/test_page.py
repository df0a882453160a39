"""report.html: everything of the document in one file that loads nothing, films beside it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.answers import make_answers
from tests.reports import make_report
from training.report.page import Shown, draw_page
from training.report.sheets import Picture, Sheet

COVID, NORMAL, VIRAL = (0.9, 0.05, 0.05), (0.1, 0.8, 0.1), (0.1, 0.2, 0.7)
ANSWERS = make_answers(
    ("covid19", "a", COVID, True, ("covid19",)),
    ("covid19", "a", NORMAL, True, ("normal",)),
    ("normal", "a", NORMAL, False, ()),
    ("viral_pneumonia", "a", VIRAL, True, ("viral_pneumonia",)),
)
SHEET = Sheet("test", (Picture("films/test_right_1.png", "normal <b>"),), (Picture("films/test_wrong_1.png", "wrong"),))


class Tags(HTMLParser):
    """Start tags with their attributes, and what is still open at the end."""

    VOID = frozenset({"meta", "img", "path", "use", "br", "rect", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it; it is closed already."""
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """It closes what was opened last."""
        if tag not in self.VOID:
            assert self.open.pop() == tag


def draw() -> str:
    """The page of the hand-made report."""
    answers = dict.fromkeys(("test", "test_adult", "external"), ANSWERS)
    return draw_page(make_report(), Shown(answers, [SHEET]))


def parse(page: str) -> Tags:
    """Its tags; every element that is opened is closed."""
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_the_page_is_one_file() -> None:
    """No style sheet, script or picture from elsewhere but films by relative path; no address of the machine."""
    tags = parse(draw())
    assert not [tag for tag, _ in tags.found if tag in {"link", "iframe", "object"}]
    sources = [found["src"] for tag, found in tags.found if "src" in found]
    assert sources == ["films/test_right_1.png", "films/test_wrong_1.png"]
    assert "file://" not in draw()
    assert "@import" not in draw()


def test_every_picture_has_words() -> None:
    """Charts have a label, films an alternative text; 3 charts a split, 2 of the learning."""
    tags = parse(draw())
    charts = [found for tag, found in tags.found if tag == "svg"]
    assert len(charts) == 3 * 3 + 2
    assert all(found["role"] == "img" and found["aria-label"] for found in charts)
    assert all(found["alt"] for tag, found in tags.found if tag == "img")


def test_no_id_stands_twice() -> None:
    """Charts come from one program that names its parts alike; links within the page find theirs."""
    tags = parse(draw())
    ids = [found["id"] for _, found in tags.found if "id" in found]
    assert len(ids) == len(set(ids))
    targets = {link for _, found in tags.found if (link := found.get("href") or "").startswith("#")}
    assert {target[1:] for target in targets if target} <= set(ids)


def test_charts_take_the_pages_colours() -> None:
    """No colour of a chart is fixed: each is one of the page's variables."""
    charts = re.findall(r"<svg.*?</svg>", draw(), re.DOTALL)
    assert not [colour for chart in charts for colour in re.findall(r"#[0-9a-f]{6}\b", chart)]
    assert all("var(--ink" in chart for chart in charts)


def test_the_page_tells_what_the_document_holds() -> None:
    """A goal with its mark, a share with its ends, the near control, the failed film by its name; text is escaped."""
    page = draw()
    assert '<td class="reached reached-no" data-head="reached">no</td>' in page
    for words in ("85.0-95.0", "<code>images/x1.png</code>", "<strong>16 x 16 thumbnail comes close to", "leg.png"):
        assert words in page
    assert "normal &lt;b&gt;" in page
    assert "normal <b>" not in page


def test_a_model_without_history_says_so() -> None:
    """No chart of a course that is not known."""
    assert "has no history" not in draw()
    assert "has no history" in draw_page(make_report().model_copy(update={"history": []}), Shown({}, []))


def test_names_show_as_they_are_and_break_nothing() -> None:
    """A file and a pool with marks and HTML, and a split that no manifest lets through: ids stay ids."""
    report = make_report()
    name = 'x"><u>\\d'
    films = [film.model_copy(update={"file": "**bold**.png"}) for film in report.splits["test"].failures]
    sources = [row.model_copy(update={"source": "<i>*pool*"}) for row in report.splits["test"].sources]
    split = report.splits["test"].model_copy(update={"failures": films, "sources": sources})
    page = draw_page(
        report.model_copy(update={"splits": {name: split}, "controls": []}),
        Shown({name: ANSWERS}, [Sheet(name, SHEET.right, SHEET.wrong)]),
    )
    tags = {tag for tag, _ in parse(page).found}
    assert films
    assert "<code>**bold**.png</code>" in page
    assert "&lt;i&gt;*pool*" in page
    assert not tags & {"u", "i"}
