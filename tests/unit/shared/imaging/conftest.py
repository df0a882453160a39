"""Sandboxes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.imaging.sandbox import Sandbox
from tests.decoders import EVIL_COMMAND


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle child is used, and a decoder's word waited for, for as long as a busy machine takes."""
    monkeypatch.setattr("shared.imaging.sandbox.CHILD_IDLE_S", 60.0)
    monkeypatch.setattr("shared.imaging.decoder_client._END_S", 60.0)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with two seats."""
    with Sandbox(workers=2) as made:
        yield made


@pytest.fixture
def evil() -> Iterator[Sandbox]:
    """A sandbox whose decoder does what the film says, one at a time, nobody waiting."""
    with Sandbox(workers=1, waiting=0, timeout_s=30.0, command=EVIL_COMMAND) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for films that take long."""
    with ThreadPoolExecutor(8) as made:
        yield made


@pytest.fixture(scope="module")
def shared_sandbox() -> Iterator[Sandbox]:
    """One decoder for all films of this file that leave it unharmed."""
    with Sandbox() as made:
        yield made
