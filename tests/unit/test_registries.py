"""Registries in a release file: what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.formats.releasefile import load_release
from orchestrator.release import registries
from orchestrator.release.registries import Registries
from tasks.errors import HostUnfit, SpecProblems
from tests.releases import Shop

RELEASE = "stages: [{product: a}]\ntargets: [{to: m}]\n"
STAGES = "docker://registry.example.org:5000/exampleos/stages"


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "r.yaml"
    file.write_text(RELEASE + text)
    with pytest.raises(SpecProblems) as failed:
        load_release(file)
    return [str(problem).removeprefix(f"{file}:") for problem in failed.value.problems]


def test_a_registry_needs_the_view_oci(tmp_path: Path) -> None:
    assert problems(tmp_path, f"views: [gentoo]\nregistries: ['{STAGES}']\n") == [
        "4:13: registries: registries get the view `oci`, which is not made"
    ]
    (tmp_path / "r.yaml").write_text(f"{RELEASE}views: [oci]\nregistries: ['{STAGES}']\n")
    assert load_release(tmp_path / "r.yaml").value.registries == (STAGES,)


@pytest.mark.parametrize(
    "url",
    ["registry.example.org/x", "docker://h", "docker://h/X", "docker://h/x:tag", "docker://h /x"],
)
def test_what_is_no_repository_is_told(tmp_path: Path, url: str) -> None:
    assert problems(tmp_path, f"views: [oci]\nregistries: ['{url}']\n") == [
        f"4:14: registries[0]: {url} is no repository of a registry"
    ]


def test_without_skopeo_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "STANDARD_PATH", str(tmp_path))
    shop = Shop(tmp_path)
    shop.put("a-1")
    with pytest.raises(HostUnfit, match="skopeo, which is missing") as failed:
        shop.publish("a-1", registries=Registries((STAGES,), tmp_path / "notes"))
    assert failed.value.hint == "apt install skopeo"
    assert not shop.mirror.exists()
