"""The health check of who tells webhooks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from shared.settings import Settings
from shared.webhooks import alive
from shared.webhooks.run import sign_of_life


@pytest.mark.parametrize(("name", "value"), [("PLAINFILM_PORT", "x"), ("PLAINFILM_HOME", "a file")])
def test_a_setting_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """For who reads why a container is not healthy."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(name, str(file) if value == "a file" else value)
    assert alive.main() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_alive_is_who_has_looked_lately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not who has never looked, nor who has stopped to; another host's sign is none of ours."""
    monkeypatch.setenv("PLAINFILM_HOME", str(tmp_path))
    sign = sign_of_life(Settings(home=tmp_path))
    assert alive.main() == 1
    sign.parent.mkdir()
    sign.with_name("webhooks-elsewhere").touch()
    assert alive.main() == 1
    sign.touch()
    assert alive.main() == 0
    long_ago = time.time() - alive.ALIVE_S - 1
    os.utime(sign, (long_ago, long_ago))
    assert alive.main() == 1
