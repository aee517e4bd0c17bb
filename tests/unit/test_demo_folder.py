"""Which folders the demonstration empties, and which it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.demo import show
from orchestrator.demo.show import Place
from tasks.errors import BadInput


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path: Path) -> None:
    precious = tmp_path / "store" / "precious"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(BadInput, match="not empty, and not of an earlier demonstration"):
        Place(tmp_path).make()
    assert precious.exists()


def test_an_earlier_demonstration_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "make_seed", Path.touch)  # the real one is slow
    place = Place(tmp_path / "new")
    place.make()
    (place.store / "old").touch()
    place.make()
    assert not (place.store / "old").exists()
    assert (place.www / "seed.tar.xz").is_file()
