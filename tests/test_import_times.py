"""import: which times win, how frames are numbered, whose frame rate a clip has, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from media_factory import make_clip
from stage_calls import import_features

from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.stages.import_features import ImportConfig
from affectkit.stages.map_stage import Outcome
from affectkit.store import Artifact, Cache, features
from affectkit.types import FeatureSequence

RUNTIME = Runtime(workers=1, progress=False)


def run(cache: Cache, source: Path, videos: Path | None = None, **fields: Any) -> tuple[Outcome, Artifact]:
    done = import_features(cache, source, ImportConfig(**{"name": "of"} | fields), RUNTIME, videos=videos)
    return done, Artifact(done.path)


def of(artifact: Artifact, clip: str) -> FeatureSequence:
    return features(artifact).sequence(clip)


def csv(path: Path, header: str, rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def openface(path: Path, frames: Sequence[int], fps: float = 30) -> Path:
    """A table as OpenFace writes it: timestamp = (frame - 1) / fps, whatever the video shows."""
    rows = [[k, 0, f"{(k - 1) / fps:.3f}", 0.98, 1, k] for k in frames]
    return csv(path, "frame, face_id, timestamp, confidence, success, AU01_r", rows)


SETTINGS: dict[str, Any] = {"valid": "success", "leave_out": ["face_id", "confidence"]}


@pytest.fixture
def pause(tmp_path: Path) -> Path:
    """A video of ten frames, at 30 a second, whose frames 6 to 10 are shown 12 ticks later."""
    (tmp_path / "videos").mkdir()
    make_clip(tmp_path / "videos/v1.mp4", 10, pts=[k + (12 if k >= 5 else 0) for k in range(10)])
    return tmp_path / "videos"


def test_videos_give_exact_times_by_the_column_frame(tmp_path: Path, cache: Cache, pause: Path) -> None:
    openface(tmp_path / "of/v1.csv", range(1, 11))
    alone, made = run(cache, tmp_path / "of", **SETTINGS)
    assert of(made, "v1").start[5] == pytest.approx(0.167) and not alone.notices
    done, made = run(cache, tmp_path / "of", pause, **SETTINGS)
    assert of(made, "v1").start[5] == pytest.approx(17 / 30) and of(made, "v1").values[5, 0] == 6
    assert done.path != alone.path
    assert "times are those of the numbered frames, not of timestamp: 1 clips (v1)" in done.notices
    by_rate, made = run(cache, tmp_path / "of", fps=10, **SETTINGS)
    assert of(made, "v1").start[5] == pytest.approx(0.5) and by_rate.path != alone.path


@pytest.mark.parametrize("columns", ["timestamp", "start,end"])
def test_times_without_numbers_of_frames_are_refused_with_videos(
    tmp_path: Path, cache: Cache, pause: Path, columns: str
) -> None:
    rows = [[k, k + 1, k] if "," in columns else [k, k] for k in range(3)]
    csv(tmp_path / "of/v1.csv", f"{columns},x", rows)
    for given in ({"videos": pause}, {"fps": 25}):
        with pytest.raises(UsageError, match=r"times of their own .* and no column frame"):
            run(cache, tmp_path / "of", **given)
    left_out, made = run(cache, tmp_path / "of", pause, leave_out=columns.split(","))
    assert of(made, "v1").start.tolist() == pytest.approx([0, 1 / 30, 2 / 30]) and not left_out.failed
    csv(tmp_path / "of/a.csv", "x", [[1]])
    csv(tmp_path / "of/b.csv", "x", [[1]])
    done, made = run(cache, tmp_path / "of", fps=25)  # files without times come first: the other one fails alone
    assert [one.clip for one in done.failed] == ["v1"] and made.clips == ["a", "b"]


def test_frames_numbered_from_zero(tmp_path: Path, cache: Cache, pause: Path) -> None:
    csv(tmp_path / "of/v1.csv", "frame,x", [[k, k] for k in range(10)])
    done, _ = run(cache, tmp_path / "of", pause)
    assert "--first-frame 0" in done.failed[0].cause and any("clips with a frame 0" in one for one in done.notices)
    done, made = run(cache, tmp_path / "of", pause, first_frame=0)
    assert not done.failed and not done.notices
    assert of(made, "v1").start[[0, 5]] == pytest.approx([0, 17 / 30]) and of(made, "v1").values[5, 0] == 5
    _, sound = run(cache, tmp_path / "of", fps=100, first_frame=0)
    assert of(sound, "v1").start.tolist() == pytest.approx(np.arange(10) / 100)


def test_numbers_that_end_one_frame_late_or_early_are_told(tmp_path: Path, cache: Cache, pause: Path) -> None:
    csv(tmp_path / "of/v1.csv", "frame,x", [[k, k] for k in range(1, 11)])
    told, _ = run(cache, tmp_path / "of", pause, first_frame=0)
    assert any("--first-frame 1" in line for line in told.notices) and told.partial == 1
    right, _ = run(cache, tmp_path / "of", pause)
    assert not right.notices
    csv(tmp_path / "gone/v1.csv", "frame,x", [[k, k] for k in range(1, 10)])  # the first frame had no face
    early, _ = run(cache, tmp_path / "gone", pause)
    assert any("one below" in line and "--first-frame 0" in line for line in early.notices)


def test_the_first_frame_that_is_usual_adds_nothing_to_the_fingerprint(tmp_path: Path, cache: Cache) -> None:
    csv(tmp_path / "of/v1.csv", "frame,x", [[1, 1]])
    done, made = run(cache, tmp_path / "of", fps=25)
    assert "first_frame" not in made.stage.inputs["config"]
    assert run(cache, tmp_path / "of", fps=25, first_frame=1)[0].path == done.path
    assert run(cache, tmp_path / "of", fps=25, first_frame=0)[0].path != done.path


def test_a_table_of_frame_rates(tmp_path: Path, cache: Cache) -> None:
    for name in ("a", "b_left", "day/c"):
        csv(tmp_path / f"of/{name}.csv", "x", [[k] for k in range(4)])
    rates = csv(tmp_path / "rates.csv", "clip,fps", [["a", 25], ["b", 10], ["day/c", 30], ["other", 24]])
    done, made = run(cache, tmp_path / "of", fps=str(rates))
    assert [of(made, clip).start[3] for clip in ("a", "b_left", "day/c")] == pytest.approx([0.12, 0.3, 0.1])
    assert list(done.notices) == [f"{rates}: rows of clips that are not here: 1 (other)"]
    assert run(cache, tmp_path / "of", fps=str(rates))[0].computed == 0
    csv(rates, "clip,fps", [["a", 25], ["b", 20], ["day/c", 30]])
    done, made = run(cache, tmp_path / "of", fps=str(rates))
    assert (done.computed, done.cached) == (1, 2) and of(made, "b_left").start[3] == pytest.approx(0.15)
    csv(rates, "clip,fps", [["a", 25], ["b", 25], ["day/c", 25]])
    assert run(cache, tmp_path / "of", fps=str(rates))[0].path == run(cache, tmp_path / "of", fps=25)[0].path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", 25]], r"no fps of 1 of 2 clips, the first: 'b'"),
        ([["a", 25], ["b", 0]], r"rates.csv:3: fps of clip 'b' is 0"),
        ([["a", 25], ["b", "nan"]], r"rates.csv:3: fps of clip 'b' is nan"),
        ([["a", 25], ["b", 30], ["a", 24]], r"rates.csv:4: clip 'a' has two rates, 25 and 24"),
    ],
)
def test_tables_of_frame_rates_that_are_refused(
    tmp_path: Path, cache: Cache, rows: list[list[object]], message: str
) -> None:
    for name in "ab":
        csv(tmp_path / f"of/{name}.csv", "x", [[1]])
    with pytest.raises(UsageError, match=message):
        run(cache, tmp_path / "of", fps=str(csv(tmp_path / "rates.csv", "clip,fps", rows)))


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "unnamed:0", "Unnamed: 0.1"])
def test_the_index_column_of_pandas_is_no_feature(tmp_path: Path, cache: Cache, name: str) -> None:
    csv(tmp_path / "of/a.csv", f"{name},x,y", [[k, 1.5, 2] for k in range(3)])
    csv(tmp_path / "of/b.csv", "x,y", [[1, 2]])
    done, made = run(cache, tmp_path / "of", fps=25)
    assert made.schema.names["values"] == ["x", "y"] and of(made, "a").values[2].tolist() == [1.5, 2]
    assert any("columns without a name left out" in line and "1 clips (a)" in line for line in done.notices)
    muse = csv(tmp_path / "muse/a.csv", f"{name},timestamp,segment_id,x", [[k, 500 * k, 1, 3] for k in range(3)])
    _, made = run(cache, muse.parent, style="muse")
    assert made.schema.names["values"] == ["x"] and of(made, "a").start.tolist() == [0, 0.5, 1]


def test_what_is_counted(tmp_path: Path, cache: Cache) -> None:
    csv(tmp_path / "of/good.csv", "confidence,x", [[1, 1], [1, ""], [1, 3]])
    csv(tmp_path / "of/flat.csv", "confidence,x", [[1, 2], [1, 2]])
    csv(tmp_path / "of/none.csv", "confidence,x", [[1, "nan"], [1, ""]])
    done, _ = run(cache, tmp_path / "of", fps=25)
    assert "taken as features: confidence; leave out what is none by --leave-out" in done.notices
    assert (done.counts["rows"], done.counts["valid"]) == (7, 4)
    assert done.counts["clips_without_valid_rows"] == ["none"] and done.counts["clips_of_constant_features"] == ["flat"]
    assert any(line.startswith("3 of 7 rows, in 2 of 3 clips") for line in done.notices)


def test_the_odd_file_fails_even_where_it_comes_first(tmp_path: Path, cache: Cache) -> None:
    csv(tmp_path / "of/a.csv", "x,y,z", [[1, 2, 3]])
    (tmp_path / "of/aa.npz").write_bytes(b"PK\x03\x04 torn")
    for name in "bcd":
        csv(tmp_path / f"of/{name}.csv", "x,y", [[1, 2]])
    done, made = run(cache, tmp_path / "of", fps=25)
    assert made.clips == ["b", "c", "d"] and [one.clip for one in done.failed] == ["a", "aa"]
    assert "3 features, where b has 2: 1 more (such as z)" in done.failed[0].cause


def test_command_line(tmp_path: Path, affectkit: Command) -> None:
    csv(tmp_path / "of/a.csv", "frame,x", [[0, 1], [1, 2]])
    csv(tmp_path / "rates.csv", "clip,fps", [["a", 50]])
    done = affectkit("import", "of", "--name", "m", "--source-fps", "rates.csv", "--first-frame", 0)
    assert done.returncode == 0, done.stderr
    assert of(Artifact(tmp_path / done.stdout.strip()), "a").start.tolist() == pytest.approx([0, 0.02])
    failed = affectkit("import", "of", "--name", "m", "--fps", 50)
    assert failed.returncode == 3 and "--first-frame 0" in failed.stderr
