"""dataset check: what a data set holds and what would bias a result, from a reader of any layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from media_factory import make_clip, numbered

from affectkit import plugins
from affectkit.config import Config, Runtime
from affectkit.errors import UsageError
from affectkit.plugins import RawLabels
from affectkit.plugins.faults import PluginFault
from affectkit.stages.dataset_check import CheckConfig, Report, check_dataset, draw_labels
from affectkit.store import Cache
from affectkit.tables.labels import DatasetLabels
from affectkit.tasks import Task
from affectkit.types import Clip

RUNTIME = Runtime(workers=1, progress=False)


class NoOptions(Config):
    pass


class Fake:
    """A data set whose parts a test sets."""

    version: ClassVar[int] = 1
    Options: ClassVar[type[Config]] = NoOptions
    tasks: ClassVar[tuple[str, ...]] = ("va", "expr")
    media: ClassVar[list[Clip]] = []
    labelled: ClassVar[dict[str, dict[str, np.ndarray]]] = {}
    split: ClassVar[dict[str, str]] = {}

    def __init__(self, options: Any, root: Path) -> None:
        self.root = root

    def clips(self) -> list[Clip]:
        return self.media

    def rows(self, task: Task) -> dict[str, RawLabels]:
        return {
            clip: RawLabels(values, self.root / f"{clip}.txt", 2) for clip, values in self.labelled[task.name].items()
        }

    def label_files(self, task: Task) -> list[Path]:
        if task.name not in self.labelled:
            raise UsageError(f"no folder {task.name}")
        return [self.root / f"{clip}.txt" for clip in self.labelled[task.name]]

    def splits(self, task: Task | None = None) -> dict[str, str]:
        return self.split

    def notes(self) -> list[str]:
        return ["times assumed"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four clips: b is a copy of a in another split, c has many more rows than frames, d has no labels, e no media."""
    for name, frames, first in (("a", 10, 0), ("c", 10, 50), ("d", 12, 0)):
        make_clip(tmp_path / f"{name}.mp4", numbered(frames, first=first))
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    who = {"a": "ann", "b": "ann", "c": "cem", "d": "dan"}
    rng = np.random.default_rng(0)
    va = {clip: rng.uniform(-1, 1, (count, 2)) for clip, count in (("a", 10), ("b", 12), ("c", 40), ("e", 5))}
    va["a"][3] = np.nan
    expr = {clip: rng.integers(0, 3, (len(values), 1)).astype(float) for clip, values in va.items()}
    monkeypatch.setattr(Fake, "media", [Clip(n, tmp_path / f"{n}.mp4", subject=who[n]) for n in "abcd"])
    monkeypatch.setattr(Fake, "labelled", {"va": va, "expr": expr})
    monkeypatch.setattr(Fake, "split", {"a": "train", "b": "val", "c": "train", "d": "test", "e": "train"})
    original = plugins.get
    monkeypatch.setattr(plugins, "get", lambda group, name: Fake if name == "fake" else original(group, name))
    return tmp_path


def check(root: Path, **config: Any) -> Report:
    digests = Cache(root / "cache").digests()
    return check_dataset(DatasetLabels("fake", root), CheckConfig(**config), RUNTIME, digests)


def test_what_is_there(data: Path) -> None:
    report = check(data)
    train = report.tasks["va"]["splits"]["train"]
    assert (train["clips"], train["rows"], train["invalid_rows"]) == (3, 55, 1)
    assert sum(train["histogram"]["valence"]) == 54 and train["outside"] == {"valence": 0, "arousal": 0}
    assert sum(report.tasks["expr"]["splits"]["val"]["classes"].values()) == 12
    assert report.media == {"clips": 4, "frames": 42, "counted_by": "packets"}
    assert report.notes == ["times assumed"]
    json.dumps(report.as_dict())


def test_tasks_without_labels_are_left_out_unless_they_were_asked_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "labelled", {"va": Fake.labelled["va"]})
    report = check(data)
    assert list(report.tasks) == ["va"]
    assert next(f for f in report.findings if f.what == "tasks without labels here").examples == [
        "expr: no folder expr"
    ]
    with pytest.raises(PluginFault, match="KeyError"):  # a reader of another package is at fault, and is named
        check(data, task=["expr"])
    monkeypatch.setattr(Fake, "labelled", {})
    with pytest.raises(UsageError, match="no folder va"):
        check(data)


def test_what_is_wrong(data: Path) -> None:
    found = {finding.what: finding for finding in check(data, task=["va"]).findings}
    assert found["va: labelled clips without media"].examples == ["e"]
    assert found["va: media without labels"].examples == ["d"]
    assert found["va: rows and frames differ by 5 at most (matched from the start)"].examples == [
        "b: 12 rows, 10 frames"
    ]
    far = found["va: rows and frames differ by more than 5: are they of the same video?"]
    assert (far.examples, far.biases) == (["c: 40 rows, 10 frames"], True)
    assert found["equal media in several splits"].examples == ["a = b"]
    assert found["subjects in several splits"].examples == ["ann: train, val"]
    assert check(data, task=["va"]).tasks["va"]["rows_less_frames"] == {"2": 1, "30": 1}


def test_classes_that_are_absent_are_named(data: Path) -> None:
    found = [f for f in check(data, task=["expr"], media=False).findings if "classes without a row" in f.what]
    assert len(found) == 2 and all("Other" in f.examples or f.count > len(f.examples) for f in found)


def test_nothing_biases_a_sound_set(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(data).biased
    monkeypatch.setattr(Fake, "split", dict.fromkeys("abcde", "train"))
    Fake.labelled["va"]["c"] = Fake.labelled["va"]["c"][:11]
    Fake.labelled["expr"]["c"] = Fake.labelled["expr"]["c"][:11]
    assert not check(data).biased


def test_frames_counted_by_decoding_are_the_same(data: Path) -> None:
    assert check(data, decode=True).media == {"clips": 4, "frames": 42, "counted_by": "decoding"}


def test_crops_are_counted_by_their_numbers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames without a face have no crop: they are no sign of another video, in the middle or at the end."""
    clips = {"gaps": [1, 2, 20], "end": [1, 2, 3], "other": [1, 30]}
    for name, numbers in clips.items():
        (data / name).mkdir()
        for number in numbers:
            (data / name / f"{number:05d}.jpg").write_bytes(b"")
    monkeypatch.setattr(Fake, "media", [Clip(name, data / name) for name in clips])
    monkeypatch.setattr(Fake, "labelled", {"va": {name: np.zeros((20, 2)) for name in clips}})
    found = {finding.what: finding for finding in check(data).findings}
    assert found["va: rows go on for more than 5 frames after the last crop"].examples == ["end: 20 rows, 3 frames"]
    far = found["va: rows and frames differ by more than 5: are they of the same video?"]
    assert (far.examples, far.biases) == (["other: 20 rows, 30 frames"], True)
    assert not any("gaps:" in example for finding in found.values() for example in finding.examples)


def test_broken_media_are_listed(data: Path) -> None:
    (data / "d.mp4").write_bytes(b"nothing")
    (found,) = [f for f in check(data).findings if f.what == "media that cannot be read"]
    assert found.examples[0].startswith("d: ")


def test_figures(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = draw_labels(tmp_path / "figures", check(data, media=False))
    assert [path.name for path in made] == ["va.png", "expr.png"]
    assert all(path.stat().st_size > 5000 and path.with_suffix(".svg").exists() for path in made)


def test_a_split_of_placeholders_is_a_finding(data: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = {clip: np.tile([0.5, -0.5], (10, 1)) for clip in ("b", "d")}
    monkeypatch.setitem(Fake.labelled, "va", {"a": Fake.labelled["va"]["a"], **flat})
    monkeypatch.setattr(Fake, "split", {"a": "train", "b": "test", "d": "test"})
    report = check_dataset(DatasetLabels("fake", data), CheckConfig(task=["va"]), RUNTIME, cache.digests())
    (one,) = (finding for finding in report.findings if "placeholders" in finding.what)
    assert (one.examples, one.biases) == (["split test"], True) and report.tasks["va"]["constant"] == ["test"]


def test_another_scale_is_a_finding(data: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Fake.labelled, "va", {"a": np.linspace(1, 9, 20).reshape(10, 2)})
    report = check_dataset(DatasetLabels("fake", data), CheckConfig(task=["va"]), RUNTIME, cache.digests())
    (one,) = (finding for finding in report.findings if "not what they are taken for" in finding.what)
    assert "on a scale 1..9?" in one.examples[0]


@pytest.mark.parametrize(("scale", "said"), [(1, None), (1000, "milliseconds?"), (30, "frame numbers, 30 a second?")])
def test_times_of_a_table_are_held_against_its_media(
    tmp_path: Path, cache: Cache, scale: float, said: str | None
) -> None:
    make_clip(tmp_path / "a.mp4", 60)
    rows = [f"a,{k / 30 * scale:.6f},{(k + 1) / 30 * scale:.6f},{np.sin(k):.3f},{np.cos(k):.3f}" for k in range(60)]
    (tmp_path / "labels.csv").write_text("clip,start,end,valence,arousal\n" + "\n".join(rows) + "\n")
    for decode in (False, True):
        config = CheckConfig(task=["va"], decode=decode)
        report = check_dataset(DatasetLabels("table", tmp_path), config, RUNTIME, cache.digests())
        found = [finding.examples[0] for finding in report.findings if "not what they are" in finding.what]
        assert len(found) == (said is not None) and all(said in line for line in found if said)
