"""What the doctor says of STATE__DIR; root may write anywhere, so a file stands in the way."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from stream.doctor.checks import FREE_BYTES_MIN, check_state
from stream.doctor.result import CheckStatus


def test_without_a_directory_nothing_is_said() -> None:
    assert list(check_state("")) == []


def test_a_directory_is_made_and_tried(tmp_path: Path) -> None:
    (found,) = check_state(str(tmp_path / "a" / "state"))
    assert found.state is CheckStatus.OK
    assert list((tmp_path / "a" / "state").iterdir()) == []


def test_one_that_cannot_be_used_is_named_with_its_fix(tmp_path: Path) -> None:
    """Workers go on in memory: no failure, but somebody should know."""
    (tmp_path / "state").write_text("a file")
    (found,) = check_state(str(tmp_path / "state"))
    assert (found.state, found.exit_code) == (CheckStatus.WARN, 0)
    assert found.fix


def test_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)

    def almost_full(_: Any) -> Any:
        return usage._replace(free=FREE_BYTES_MIN - 1)

    monkeypatch.setattr(shutil, "disk_usage", almost_full)
    (found,) = check_state(str(tmp_path))
    assert found.state is CheckStatus.WARN
    assert "1.1 GB are free" in found.text
