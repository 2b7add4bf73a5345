"""What the doctor says of STATE__DIR; root may write anywhere, so a file stands in the way."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from stream.doctor.checks import FREE_BYTES_MIN, look_at_state
from stream.doctor.result import State


def test_without_a_directory_nothing_is_said() -> None:
    assert list(look_at_state("")) == []


def test_a_directory_is_made_and_tried(tmp_path: Path) -> None:
    (found,) = look_at_state(str(tmp_path / "a" / "state"))
    assert found.state is State.OK
    assert list((tmp_path / "a" / "state").iterdir()) == []


def test_one_that_cannot_be_used_is_named_with_its_mend(tmp_path: Path) -> None:
    """Workers go on in memory: no failure, but somebody should know."""
    (tmp_path / "state").write_text("a file")
    (found,) = look_at_state(str(tmp_path / "state"))
    assert (found.state, found.exit_code) == (State.WARN, 0)
    assert found.mend


def test_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)

    def almost_full(_: Any) -> Any:
        return usage._replace(free=FREE_BYTES_MIN - 1)

    monkeypatch.setattr(shutil, "disk_usage", almost_full)
    (found,) = look_at_state(str(tmp_path))
    assert found.state is State.WARN
    assert "1.1 GB are free" in found.text
