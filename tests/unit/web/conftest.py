"""An application with a small upload limit, and a caller of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.wiring import Resources
from tests.api import Api, make_key
from tests.api_answers import MAX_BYTES


@pytest.fixture
def small(resources: Resources) -> Resources:
    """Resources with a small upload limit."""
    return replace(resources, settings=resources.settings.model_copy(update={"max_upload_bytes": MAX_BYTES}))


@pytest.fixture
def api(small: Resources) -> Api:
    """An application and an admin's key."""
    return Api(small, make_key(small.database))
