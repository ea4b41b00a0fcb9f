"""`contract check`: the same faces under every crop that is stored of them, and what that does to a model's scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from crop_contract_factory import FEELINGS, Judge, Seen, faces, videos
from PIL import Image

from affectkit import plugins
from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError
from affectkit.stages.contract_check import ContractCheckConfig, ContractReport, check_contract, draw_contract
from affectkit.store import Artifact

JUDGE = plugins.name_of("backbones", Judge)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos(tmp_path_factory.mktemp("check"))


@pytest.fixture(scope="module")
def wide(clips: Path) -> Artifact:
    return faces(clips, margin="0.3")


def checked(crops: Artifact, model: str = JUDGE, **config: object) -> ContractReport:
    return check_contract(
        model, crops, crops.clips, ContractCheckConfig.model_validate(config), Numerics(device="cpu", batch_size=3),
        Runtime(workers=1, progress=False),
    )  # fmt: skip


def test_every_choice_that_is_stored_is_scored(wide: Artifact) -> None:
    report = checked(wide)
    names = [one.name for one in report.choices]
    assert names == [
        "its contract (margin 0, square)", "margin 0.1", "margin 0.2", "margin 0.3", "letterbox", "aligned", "grey",
        "red and blue swapped",
    ]  # fmt: skip
    assert list(report.left_out) == ["margin 0.4"]
    assert "8 of 8 faces" in report.left_out["margin 0.4"]
    assert all(len(one.scores) == 8 for one in report.choices)


def test_a_choice_scores_as_crops_cut_by_it(clips: Path, wide: Artifact) -> None:
    """Margin 0.2 in the report is what the contract's model scores on crops with that margin, given as they are."""
    report = checked(wide)
    by_name = {one.name: one for one in report.choices}
    for name, margin in (("margin 0.2", "0.2"), ("its contract (margin 0, square)", "0")):
        crops = faces(clips, margin=margin, size=64, format="png")
        from affectkit.tracks import decode_crop

        pixels = np.stack([decode_crop(image) for clip in crops.clips for image in crops.column(clip, "image")])
        straight = Judge(None, None, None).scores(pixels.transpose(0, 3, 1, 2))  # type: ignore[arg-type]
        assert np.abs(by_name[name].scores - straight).max() < 0.03
        assert np.allclose(by_name[name].mean, by_name[name].scores.mean(axis=0))


def test_what_differs_is_counted_against_the_contracts_own_crop(wide: Artifact) -> None:
    own, *others = checked(wide).choices
    assert (own.changed, own.difference, own.turned) == (0, 0, 0)
    for one in others:
        assert one.changed == np.mean(one.scores.argmax(axis=1) != own.scores.argmax(axis=1))
        assert one.difference == pytest.approx(np.abs(one.scores - own.scores).mean())
        assert one.valence is not None
        assert one.valence == pytest.approx(one.scores[:, 0] - one.scores[:, 1])  # happy minus sad


def test_fewer_faces_are_spread_over_all(wide: Artifact) -> None:
    report = checked(wide, faces=3)
    assert (report.sample.clips, report.sample.rows, report.sample.total) == (["a", "a", "b"], [0, 3, 3], 8)


def test_models_and_crops_that_cannot_be_checked(clips: Path, wide: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published model"):
        checked(wide, plugins.name_of("backbones", Seen))
    with pytest.raises(UsageError, match="affectkit extract faces MEDIA"):
        checked(faces(clips, margin="0", shape="letterbox", size=64))


def test_the_picture_has_a_line_a_choice(wide: Artifact, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = checked(wide)
    path = draw_contract(report, tmp_path / "out")
    with Image.open(path) as picture:
        assert picture.width > 800
        assert picture.height > 100 * len(report.choices)
    first = path.read_bytes()
    assert draw_contract(checked(wide), tmp_path / "again").read_bytes() == first
    assert path.with_suffix(".svg").is_file()


def test_the_command(affectkit: Command, wide: Artifact, tmp_path: Path) -> None:
    run = affectkit("contract", "check", JUDGE, wide.path, "--device", "cpu", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["choices"][0]["choice"] == "its contract (margin 0, square)"
    assert set(report["choices"][0]["scores"]) == set(FEELINGS.targets)
    assert (report["stored"], report["faces"]) == ("margin 0.3, square", 8)
    assert any("cut again for Judge" in line for line in report["notices"])
    table = affectkit("contract", "check", JUDGE, wide.path, "--device", "cpu")
    assert "valence index" in table.stdout
    assert "not shown: margin 0.4" in table.stderr
    wrong = affectkit("contract", "check", JUDGE, tmp_path / "nothing")
    assert wrong.returncode == 2
