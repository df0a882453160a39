"""The report on a model travels with it from its folder into the database."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import select, update

from shared.db import model_queries
from shared.db.tables import Model
from shared.model_report import REPORT_FILE
from shared.wiring import Resources
from tests.fakes import make_manifest
from tests.reports import make_report
from worker import boot, heartbeat

MANIFEST = make_manifest()
REPORT = make_report(weights_sha256=MANIFEST.weights_sha256)


def test_a_known_model_takes_the_report_it_comes_with_later(resources: Resources) -> None:
    """First without, then with one, then without again: what is known is not forgotten, and the row stays one."""
    newer = REPORT.model_copy(update={"version": "2"})
    for report, expected in ((None, None), (REPORT, REPORT), (newer, newer), (None, newer)):
        heartbeat.register_model(resources.database, MANIFEST, report)
        with resources.database.read() as session:
            known = model_queries.find_newest_model(session)
            assert known
            assert known.report == expected
            assert len(session.scalars(select(Model)).all()) == 1


def test_the_newest_model_is_the_one_that_was_registered_last(resources: Resources) -> None:
    """Back to an older one: pages tell of what serves, with the numbers its manifest has now."""
    other = MANIFEST.model_copy(update={"weights_sha256": "1" * 64, "version": "2"})
    measured = MANIFEST.model_copy(update={"trained_on": {"normal": 7}})
    for manifest in (MANIFEST, other, measured):
        heartbeat.register_model(resources.database, manifest)
        with resources.database.read() as session:
            known = model_queries.find_newest_model(session)
        assert known
        assert known.manifest == manifest


def test_a_model_of_another_builds_form_is_passed_over(resources: Resources) -> None:
    """A newer worker registered it beside an older web process: its page tells of the last one that it can read."""
    heartbeat.register_model(resources.database, MANIFEST)
    heartbeat.register_model(resources.database, MANIFEST.model_copy(update={"weights_sha256": "1" * 64}))
    with resources.database.begin() as session:
        of_tomorrow = {**json.loads(MANIFEST.model_dump_json()), "dream": "electric sheep"}
        session.execute(update(Model).where(Model.weights_sha256 == "1" * 64).values(manifest=json.dumps(of_tomorrow)))
    with resources.database.read() as session:
        known = model_queries.find_newest_model(session)
    assert known is not None
    assert known.manifest == MANIFEST


def test_the_folder_s_report_is_found_only_where_it_is_of_these_weights(tmp_path: Path) -> None:
    """Absent, broken or foreign: the worker serves without one."""
    assert boot.find_report(tmp_path, MANIFEST) is None
    for text, expected in (
        (REPORT.model_dump_json(), REPORT),
        ("{", None),
        (make_report(weights_sha256="1" * 64).model_dump_json(), None),
    ):
        (tmp_path / REPORT_FILE).write_text(text, encoding="utf-8")
        assert boot.find_report(tmp_path, MANIFEST) == expected
