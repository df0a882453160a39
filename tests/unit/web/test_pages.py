"""Pages as a browser gets them: what they say, what they ask for again, and what they never load."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from shared import samples
from shared.db import jobs, keys
from shared.db.leases import POISONED, AttemptRecord
from shared.db.tables import AuditHead, Job, Model, Tenant
from shared.errors import all_errors
from shared.manifest import Rate, SplitMetrics
from shared.wiring import Resources
from tests.fakes import make_manifest
from tests.jobs import claim, finish, make_job, make_record, register_model
from web import pages, worklist_page
from web.app import create_app

STATIC = Path(pages.__file__).parent / "static"
VENDOR, PC = STATIC / "vendor", "\N{NO-BREAK SPACE}%"


@pytest.fixture
def visitor(resources: Resources) -> FlaskClient:
    """A browser without a session."""
    return create_app(resources).test_client()


@pytest.fixture
def login(resources: Resources) -> Callable[..., str]:
    """Makes a key of a tenant and a one-time link for it."""

    def make(tenant: str = "default") -> str:
        with resources.database.begin() as session:
            now = resources.database.now(session)
            if session.get(Tenant, tenant) is None:
                session.add_all([Tenant(id=tenant, created_at=now), AuditHead(stream=tenant, seq=0, hash="0" * 64)])
                session.flush()
            key_id = keys.get_principal(session, keys.make_key(session, tenant, "admin", now)).key_id
            return f"/enter/{keys.make_link(session, key_id, now)}"

    return make


@pytest.fixture
def browser(visitor: FlaskClient, login: Callable[..., str]) -> Iterator[FlaskClient]:
    """A browser with a session of the default tenant."""
    visitor.get(login())
    return visitor


def finish_as(resources: Resources, verdict: str, **columns: Any) -> str:
    """A job with a result of this verdict; `columns` replace those of an ordinary one."""
    job_id = make_job(resources.database)
    [held] = claim(resources.database)
    finding = make_record(register_model(resources.database), verdict=verdict)
    with jobs.changing(resources.database) as changes:
        changes.finish("w1", [(held, AttemptRecord({**finding.columns, **columns}, finding.audit_facts))])
    return job_id


def rows(html: str) -> list[str]:
    """Ids of the jobs that a page or an answer has rows of, in its order."""
    return re.findall(r'data-job="([0-9a-f-]{36})"', html)


def test_without_a_session_a_page_tells_how_to_get_in(visitor: FlaskClient) -> None:
    """A browser that is not known gets 401, the command that prints a link, and whom to ask where it is not its own."""
    answer = visitor.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "<code>plainfilm key link</code>" in answer.text
    assert "<code>.venv/bin/plainfilm key link</code>" in answer.text
    assert "Ask whoever runs this service for a new link" in answer.text


def test_a_one_time_link_opens_the_worklist_once(visitor: FlaskClient, login: Callable[..., str]) -> None:
    """The link redirects to the worklist and begins a session; another browser is refused it with the reason."""
    link = login()
    entered = visitor.get(link)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/")
    assert visitor.get("/").status_code == 200
    again = visitor.get(link, headers={"Accept": "text/html"})
    assert again.status_code == 303  # for the browser that is signed in there is nothing to refuse
    visitor.delete_cookie("plainfilm")
    again = visitor.get(link, headers={"Accept": "text/html"})
    assert again.status_code == 401
    assert "already been used or has expired" in again.text


def test_an_empty_worklist_invites_the_first_film(browser: FlaskClient) -> None:
    """Where there is no film yet, the page asks for one and names the key that opens the chooser."""
    page = browser.get("/").text
    assert "Send the first film" in page
    assert "<kbd>u</kbd>" in page


def test_what_is_kept_is_said_before_sending(browser: FlaskClient) -> None:
    """The worklist says that the grey film alone is kept, and for how long, beside the upload button."""
    page = browser.get("/").text
    assert "Only the decoded greyscale film is stored" in page
    assert "without file name or metadata" in page
    assert "only on this service" in page
    assert page.index("only on this service") < page.index('id="upload"')


def test_the_worklist_carries_a_token_that_lets_its_script_change_things(
    browser: FlaskClient, resources: Resources
) -> None:
    """The token of the page's meta tag lets a cancel through; without it the same request is refused."""
    job_id = make_job(resources.database)
    token = re.search(r'name="csrf-token" content="([^"]+)"', browser.get("/").text)
    assert token
    address = f"/api/v1/jobs/{job_id}/cancel"
    assert browser.post(address).status_code == 403
    assert browser.post(address, headers={"X-CSRFToken": token[1]}).status_code == 200


def test_a_row_tells_verdict_probability_priority_and_model(browser: FlaskClient, resources: Resources) -> None:
    """A finished film's row says all that the list promises, in words."""
    finish_as(resources, "normal")
    page = browser.get("/").text
    for words in ("Normal", f"80.0{PC}", "Routine", "fake", "Succeeded"):
        assert words in page


def test_a_sample_film_says_that_it_is_one(browser: FlaskClient, resources: Resources) -> None:
    """In its row and on its page; no other film does."""
    for digest, is_said in (("0" * 64, False), (hashlib.sha256(samples.paths()[0].read_bytes()).hexdigest(), True)):
        job_id = make_job(resources.database)
        with resources.database.begin() as session:
            session.execute(update(Job).where(Job.id == job_id).values(input_sha256=digest))
        row = browser.get("/").text.split(f'data-job="{job_id}"')[1].split("</tr>")[0]
        page = browser.get(f"/jobs/{job_id}").text
        assert ('class="sample"' in row, "a blend of several films" in page) == (is_said, is_said)


def test_a_verdict_outside_its_own_set_says_so_in_its_row(browser: FlaskClient, resources: Resources) -> None:
    """A label's probability may be above the verdict's limit and below the set's; an inverted film says so as well."""
    finish_as(resources, "normal", prediction_set=[], reasons=["polarity_corrected", "empty_set"])
    page = browser.get("/").text
    assert "The probability of this label is lower than for most films of it." in page
    assert "The film is inverted" in page


def test_a_film_held_back_for_another_finding_shows_its_probability(browser: FlaskClient, resources: Resources) -> None:
    """In the row in the place of the first label's, on the page beside all labels; no sentence speaks for a label."""
    job_id = finish_as(
        resources, "uncertain", prediction_set=["normal"], reasons=["other_finding"], other_probability=0.413
    )
    row, page = browser.get("/").text, browser.get(f"/jobs/{job_id}").text
    assert f"41.3{PC} another finding" in row
    assert f"80.0{PC}" not in row.split("<tbody")[1]
    assert re.search(r"Another finding</span><span[^>]*>41\.3\xa0%", page)
    assert "among these" not in page
    old = finish_as(resources, "uncertain", reasons=["other_finding"])
    assert "nother finding</span>" not in browser.get(f"/jobs/{old}").text


def test_an_empty_worklist_promises_no_moment(browser: FlaskClient) -> None:
    """There may be no worker; the verdict comes once one has read the film."""
    page = browser.get("/").text
    assert "a moment later" not in page
    assert "Verdicts appear here" in page


def test_a_film_that_cannot_be_assessed_shows_no_probability_in_its_row(
    browser: FlaskClient, resources: Resources
) -> None:
    """Beside 'Not assessable' stands the reason, not a number that says nothing."""
    finish_as(resources, "not_assessable", reasons=["low_contrast"])
    page = browser.get("/").text
    assert "hardly any contrast" in page
    assert f"80.0{PC}" not in page


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/?status=queued", ["waiting"]),
        ("/?status=succeeded", ["normal", "uncertain"]),
        ("/?verdict=uncertain", ["uncertain"]),
        ("/?status=queued&verdict=normal", []),
    ],
)
def test_filters_of_the_address_choose_the_rows(
    browser: FlaskClient, resources: Resources, address: str, shown: list[str]
) -> None:
    """Status and verdict in the address show the films that have both."""
    made = {name: finish_as(resources, name) for name in ("uncertain", "normal")}
    made["waiting"] = make_job(resources.database)
    assert rows(browser.get(address).text) == [made[name] for name in shown]


def test_an_unknown_filter_is_refused(browser: FlaskClient) -> None:
    """A status that does not exist is 400 and names the parameter."""
    answer = browser.get("/?status=lost", headers={"Accept": "text/html"})
    assert answer.status_code == 400
    assert "status" in answer.text


def test_older_films_are_on_linked_pages_each_film_once(browser: FlaskClient, resources: Resources) -> None:
    """Following the link of each page shows every film once, newest first, and ends."""
    made = [make_job(resources.database) for _ in range(worklist_page.PAGE_ROWS + 3)]
    first = browser.get("/").text
    link = re.search(r'id="older" rel="next" href="([^"]+)"', first)
    assert link
    second = browser.get(link[1].replace("&amp;", "&")).text
    assert rows(first) + rows(second) == made[::-1]
    assert re.search(r'id="older"[^>]* hidden>', second)
    assert not re.search(r'id="older"[^>]* hidden>', first)


def test_the_film_page_tells_all_of_a_result(browser: FlaskClient, resources: Resources) -> None:
    """Each label's probability, the set in words, the model with its link and the heatmap with its caution."""
    page = browser.get(f"/jobs/{finish_as(resources, 'normal')}").text
    for words in (f"10.0{PC}", f"80.0{PC}", f"80.0{PC} among these three labels.", "COVID-19", "Viral pneumonia"):
        assert words in page
    assert re.search(r'<a href="/model">fake 1</a>', page)
    assert "not where disease is." in page
    assert 'data-heatmap="/api/v1/jobs/' in page
    assert "hx-get" not in page


@pytest.mark.parametrize(
    ("verdict", "reason", "words"),
    [
        ("uncertain", "ambiguous_set", "Another label is plausible besides"),
        ("not_assessable", "low_contrast", "hardly any contrast"),
        ("uncertain", "a_reason_of_tomorrow", "a_reason_of_tomorrow"),
    ],
)
def test_an_abstention_gives_its_reasons_in_words(
    browser: FlaskClient, resources: Resources, verdict: str, reason: str, words: str
) -> None:
    """The banner says that the model abstains and why, and so does the row; an unknown code is shown as it is."""
    page = browser.get(f"/jobs/{finish_as(resources, verdict, reasons=[reason])}").text
    assert "The model abstains" in page
    assert words in page
    assert words in browser.get("/").text


def test_a_film_that_was_turned_to_the_usual_grey_scale_says_so_beside_its_verdict(
    browser: FlaskClient, resources: Resources
) -> None:
    """As a caution, not as a reason to abstain; beside an abstention it stands apart from the reasons."""
    page = browser.get(f"/jobs/{finish_as(resources, 'normal', reasons=['polarity_corrected'])}").text
    assert "<h2>Caution</h2>" in page
    assert "The film is inverted" in page
    assert "The model abstains" not in page
    reasons = ["ambiguous_set", "polarity_corrected"]
    page = browser.get(f"/jobs/{finish_as(resources, 'uncertain', reasons=reasons)}").text
    assert page.index("Another label is") < page.index("<h2>Caution</h2>") < page.index("The film is inverted")
    assert page.count("The film is inverted") == 1


def test_a_degenerate_map_is_told_and_not_drawn(browser: FlaskClient, resources: Resources) -> None:
    """A map that says nothing gives a sentence and no heatmap."""
    page = browser.get(f"/jobs/{finish_as(resources, 'normal', is_degenerate=True)}").text
    assert "empty, constant, or all in one corner" in page
    assert "data-heatmap=" not in page
    assert 'id="opacity"' not in page


def test_a_failed_job_tells_code_and_detail_harmlessly(browser: FlaskClient, resources: Resources) -> None:
    """The reason of a failure is shown with its code; markup in it stays text."""
    job_id = make_job(resources.database)
    [held] = claim(resources.database)
    with jobs.changing(resources.database) as changes:
        changes.fail(held, "w1", "blob_missing", "The film <b>is</b> `missing`.")
    page = browser.get(f"/jobs/{job_id}").text
    assert "<code>blob_missing</code>" in page
    assert "The film &lt;b&gt;is&lt;/b&gt; <code>missing</code>." in page


def test_a_job_that_is_not_done_is_asked_for_until_it_is(browser: FlaskClient, resources: Resources) -> None:
    """The findings of a queued job ask for themselves; unchanged they answer 204, done they stop asking."""
    job_id = make_job(resources.database)
    page = browser.get(f"/jobs/{job_id}").text
    assert f'hx-get="/jobs/{job_id}/findings"' in page
    seen = re.search(r"""hx-vals='{"seen": "([^"]+)"}'""", page)
    assert seen
    assert browser.get(f"/jobs/{job_id}/findings", query_string={"seen": seen[1]}).status_code == 204
    finish(resources.database, claim(resources.database)[0])
    answer = browser.get(f"/jobs/{job_id}/findings", query_string={"seen": seen[1]})
    assert answer.status_code == 200
    assert "hx-get" not in answer.text


def test_another_tenants_film_has_no_page(
    visitor: FlaskClient, login: Callable[..., str], resources: Resources
) -> None:
    """A foreign job answers 404 on its page and its findings, and is in no list."""
    job_id = finish_as(resources, "normal")
    visitor.get(login("other"))
    assert visitor.get(f"/jobs/{job_id}").status_code == 404
    assert visitor.get(f"/jobs/{job_id}/findings").status_code == 404
    assert job_id not in visitor.get("/").text
    assert rows(visitor.get("/live", query_string={"waiting": f"{job_id}.queued"}).text) == []


def test_without_a_model_the_page_says_that_no_worker_has_started(browser: FlaskClient) -> None:
    """Before the first worker there is nothing to tell, and the page says so."""
    assert "No worker has started yet" in browser.get("/model").text


def test_the_model_page_shows_numbers_with_n_and_interval(browser: FlaskClient, resources: Resources) -> None:
    """Shares stand beside their n and interval; a split without accuracy is told too; the limits stand above all."""
    rate = Rate(value=0.972, n=689, low=0.957, high=0.982)
    split = SplitMetrics(
        n=689,
        accuracy=rate,
        balanced_accuracy=0.965,
        macro_f1=0.968,
        ece15=0.031,
        recall=dict.fromkeys(make_manifest().labels, rate),
        coverage=rate,
        confusion=[[86, 2, 1], [3, 291, 6], [0, 5, 295]],
    )
    other = SplitMetrics(n=121, coverage=Rate(value=0.8595, n=121, low=0.786, high=0.91))
    metrics = {"test": split, "ood": other}
    manifest = make_manifest().model_copy(update={"metrics": metrics, "trained_on": {"covid19": 1204}})
    with resources.database.begin() as session:
        values = {"name": manifest.name, "version": manifest.version, "manifest": manifest.model_dump_json()}
        now = resources.database.now(session)
        session.add(Model(weights_sha256=manifest.weights_sha256, registered_at=now, **values))
    page = browser.get("/model").text
    for words in (f"97.2{PC}", ">689<", "95.7 to 98.2", ">291<", "children at one hospital", manifest.weights_sha256):
        assert words in page
    assert f"Of 121 films with other findings, 86.0{PC} (78.6 to 91.0) were nevertheless given" in page
    assert page.index("What it must not be used for, and its limits") < page.index("What was measured")


def test_the_problems_page_explains_every_code(visitor: FlaskClient) -> None:
    """Each error has an anchor by its code, and the page opens without a session."""
    page = visitor.get("/problems").text
    for error in all_errors():
        assert f'id="{error.code}"' in page
        assert error.title in page.replace("&#39;", "'")
    assert f'id="{POISONED}"' in page


def test_every_page_of_results_says_research_use(browser: FlaskClient, resources: Resources) -> None:
    """No page shows a verdict or a number of the model without the notice."""
    job_id = finish_as(resources, "covid19")
    for address in ("/", f"/jobs/{job_id}", f"/jobs/{job_id}/findings", "/model"):
        assert "Research use, not a medical device" in browser.get(address).text, address


def test_pages_hold_nothing_that_the_policy_forbids(browser: FlaskClient, resources: Resources) -> None:
    """No inline script, style or handler, and no address of another host, on any page."""
    addresses = ["/", "/model", "/problems", "/live", "/nowhere"]
    addresses += [f"/jobs/{finish_as(resources, verdict)}" for verdict in ("normal", "uncertain", "not_assessable")]
    addresses += [f"/jobs/{make_job(resources.database)}"]
    for address in addresses:
        page = browser.get(address, headers={"Accept": "text/html"}).text
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=|hx-on|javascript:", page), address
        assert set(re.findall(r"https?://[^/\"<\s]+", page)) <= {"http://localhost"}, address


def test_pages_are_not_kept_by_caches(browser: FlaskClient) -> None:
    """Every page is no-store, so that no film's verdict stays behind on a shared machine."""
    assert browser.get("/").headers["Cache-Control"] == "no-store"


def test_every_file_that_a_page_names_is_there(browser: FlaskClient, resources: Resources) -> None:
    """Scripts, style sheets and icons of the pages can all be had without a session."""
    text = browser.get("/").text + browser.get(f"/jobs/{finish_as(resources, 'normal')}").text
    named = set(re.findall(r'(?:src|href)="(/static/[^"#]+)', text))
    assert len(named) > 10
    for address in named | {"/favicon.ico"}:
        with browser.get(address) as answer:
            assert answer.status_code == 200, address


def test_every_icon_that_a_page_names_is_drawn(browser: FlaskClient, resources: Resources) -> None:
    """Each `icons.svg#name` of the pages exists in the file."""
    text = browser.get("/").text
    for verdict in ("covid19", "normal", "viral_pneumonia", "uncertain", "not_assessable"):
        text += browser.get(f"/jobs/{finish_as(resources, verdict)}").text
    drawn = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "icons.svg").read_text()))
    assert set(re.findall(r"icons\.svg#([\w-]+)", text)) <= drawn


def test_vendored_libraries_are_the_ones_listed() -> None:
    """Every vendored script has the SHA-256 of the table, a licence beside it, and none is left out."""
    table = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in table} == {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*.js")}
    for name, digest in table:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
        assert (VENDOR / name).with_name("LICENSE").stat().st_size > 100
