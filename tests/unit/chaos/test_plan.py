"""A trial is drawn from its seed, holds the blows that were asked for, and tells its end in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.chaos.__main__ import parse
from tests.chaos.facts import Fault, Kind
from tests.chaos.history import Action, History, Outcome, read
from tests.chaos.monkey import Strike
from tests.chaos.plan import KILLS, OF_CELERY, OF_POSTGRESQL, Blow, Design, Options, make_blows, make_orders
from tests.chaos.report import Verdict, last_line, lines


def options(tmp_path: Path, *arguments: str) -> Options:
    """As the command line says."""
    return parse(["--out", str(tmp_path), *arguments])


def test_the_same_seed_is_the_same_trial(tmp_path: Path) -> None:
    """Orders and blows are repeated by their seed, and differ with another."""
    first, again, other = (options(tmp_path, "--seed", seed) for seed in ("1", "1", "2"))
    assert (make_orders(first), make_blows(first)) == (make_orders(again), make_blows(again))
    assert make_blows(first) != make_blows(other)


def test_a_large_trial_has_every_blow_and_enough_of_them(tmp_path: Path) -> None:
    """300 films come with 20 kills or more, 1,000 with 60 or more, all kinds among them."""
    small, large = options(tmp_path, "--jobs", "300"), options(tmp_path, "--jobs", "1000")
    kills = [sum(planned.blow in KILLS for planned in make_blows(trial)) for trial in (small, large)]
    assert kills[0] >= 20
    assert kills[1] >= 60
    assert {planned.blow for planned in make_blows(small)} == set(Blow)


def test_blows_fit_what_is_tried(tmp_path: Path) -> None:
    """SQLite has no server to kill, and of Celery's own design only worker, child and broker are struck."""
    sqlite = options(tmp_path, "--database", "sqlite")
    assert not {planned.blow for planned in make_blows(sqlite)} & OF_POSTGRESQL
    celery = replace(sqlite, design=Design.CELERY_DEFAULT, kills=9)
    blows = [planned.blow for planned in make_blows(celery)]
    assert len(blows) == 9
    assert set(blows) == OF_CELERY


def test_no_kills_means_no_blows(tmp_path: Path) -> None:
    """`--kills 0` is a quiet run."""
    assert make_blows(options(tmp_path, "--kills", "0")) == []


def test_blows_come_in_order_and_within_the_spread(tmp_path: Path) -> None:
    """None before the films, none after them."""
    trial = options(tmp_path, "--jobs", "100")
    dues = [planned.due_s for planned in make_blows(trial)]
    assert dues == sorted(dues)
    assert dues[0] > 0
    assert dues[-1] < trial.spread


def test_some_keys_are_sent_twice_and_some_jobs_cancelled(tmp_path: Path) -> None:
    """Keys are distinct, films as well; twins of both kinds and cancels are among them."""
    orders = make_orders(options(tmp_path, "--jobs", "300"))
    assert len({order.key for order in orders}) == len({order.film for order in orders}) == 300
    assert {order.twice for order in orders} == {"", "later", "together"}
    assert 0 < sum(order.cancel_after_s is not None for order in orders) < 60


def test_the_last_line_has_its_form() -> None:
    """Faults are counted by film, kills by blow; where nothing recovered there is no number."""
    faults = [Fault(Kind.LOST, "a", "x"), Fault(Kind.LOST, "a", "y"), Fault(Kind.STALE, "b", "z")]
    strikes = [Strike(Blow.CHILD, 1.0, 7), Strike(Blow.FLUSH, 2.0)]
    verdict = Verdict(faults, strikes, [3.0, 12.34], {"jobs": "succeeded 2"})
    assert last_line(verdict) == "lost 1 doubled 0 stale_accepted 1 chain_breaks 0 recovery_p99_s 12.3 kills 1"
    assert lines(verdict)[-1] == last_line(verdict)
    assert verdict.status == 1
    quiet = Verdict([], [], [], {})
    assert last_line(quiet) == "lost 0 doubled 0 stale_accepted 0 chain_breaks 0 recovery_p99_s nan kills 0"
    assert quiet.status == 0


def test_a_history_can_be_read_back(tmp_path: Path) -> None:
    """What was logged is what is read."""
    history = History(tmp_path / "history.jsonl")
    asked = history.invoke("client", Action.SUBMIT, "key")
    history.end(asked, Outcome.OK, job="job", state="queued", attempt=0, http=202)
    history.close()
    assert list(read(tmp_path / "history.jsonl")) == history.events
    assert history.events[1].op == asked.op
