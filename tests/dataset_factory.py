"""Each data set's layout in miniature, with what the real ones surprise a reader by. The numbers are ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from media_factory import make_clip
from PIL import Image

EXPRESSIONS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
ACTION_UNITS = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
REACTIONS = ("Adoration", "Amusement", "Anxiety", "Disgust", "Empathic-Pain", "Fear", "Surprise")
VFR = (0, 1, 2, 5, 6, 10, 11, 12)
"""Presentation times of a clip with a variable frame rate, in thirtieths of a second."""

BOM = b"\xef\xbb\xbf"


def write(path: Path, text: str, *, bom: bool = False, crlf: bool = False) -> Path:
    """A text file, as some editor would save it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes((BOM if bom else b"") + (data.replace(b"\n", b"\r\n") if crlf else data))
    return path


def va_text(rows: Iterable[Sequence[float]]) -> str:
    """A file of valence and arousal."""
    return "valence,arousal\n" + "".join(f"{valence},{arousal}\n" for valence, arousal in rows)


def expr_text(classes: Iterable[int]) -> str:
    """A file of expressions."""
    return f"{EXPRESSIONS}\n" + "".join(f"{number}\n" for number in classes)


def still(path: Path, brightness: int = 128) -> Path:
    """A face crop, as far as a file system can tell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), brightness, np.uint8)).save(path)
    return path


def aff_wild2(root: Path, *, expr: str = "EXPR_Recognition_Challenge", media: bool = True) -> Path:
    """Aff-Wild2: 8 frames of variable rate a video; `two` shows two persons, `unseen` is a test video."""
    va, sets = root / "VA_Estimation_Challenge", ("Train_Set", "Validation_Set")
    write(va / sets[0] / "plain.txt", va_text([(0.1 * n, -0.1 * n) for n in range(8)]))
    write(va / sets[0] / "marked.txt", va_text([(-5, 0.5), (0.25, -5), (-5, -5), (0.5, -0.5)]) + "\n\n", bom=True)
    write(va / sets[0] / "two.txt", va_text([(0.5, 0.5)] * 8), crlf=True)
    write(va / sets[0] / "two_left.txt", va_text([(-0.5, 0.25)] * 8), bom=True, crlf=True)
    write(va / sets[1] / "longer.txt", va_text([(0.01 * n, 0.02 * n) for n in range(11)]))
    write(va / sets[1] / "header_only.txt", "valence,arousal\n")
    write(va / sets[1] / ".DS_Store", "\0")
    write(va / sets[1] / "._longer.txt", "\0")
    write(root / expr / sets[0] / "plain.txt", expr_text([0, 1, 2, 3, 4, 5, 6, 7]))
    write(root / expr / sets[1] / "marked.txt", expr_text([-1, 4, -1, 7]).rstrip("\n"), crlf=True)
    units = [[n >> bit & 1 for bit in range(12)] for n in (5, 4095)] + [[-1] * 12]
    text = "".join(",".join(map(str, row)) + "\n" for row in units)
    write(root / "AU_Detection_Challenge" / sets[0] / "plain.txt", f"{ACTION_UNITS}\n{text}")
    if media:
        for folder, names in (("batch1", ("plain", "marked", "two")), ("batch2", ("longer", "header_only", "unseen"))):
            (root / folder).mkdir(parents=True)
            for name in names:
                make_clip(root / folder / f"{name}.mp4", len(VFR), pts=VFR)
    return root


def aff_wild2_crops(root: Path, clips: Mapping[str, Iterable[int]]) -> Path:
    """cropped_aligned/<clip>/<frame>.jpg, frames counted from 1; undetected ones are not there."""
    for clip, frames in clips.items():
        for frame in frames:
            still(root / "cropped_aligned" / clip / f"{frame:05d}.jpg", frame)
    return root


def reactions(number: int) -> list[str]:
    """Seven intensities."""
    return [f"{(number * 7 + place) % 100 / 100:.2f}" for place in range(7)]


def hume_muse(root: Path) -> Path:
    """The MuSe-2022 layout: clip 00104 has no labels, 00103 empty ones."""
    rows = [f"[{name}]," + ",".join(reactions(n)) for n, name in enumerate(("00101", "00102"))]
    write(root / "labels.csv", "\n".join(["File_ID," + ",".join(REACTIONS), *rows, "[00103]" + "," * 7, "", ""]),
          bom=True, crlf=True)  # fmt: skip
    names = {"00101": "train", "00102": "devel", "00103": "test", "00104": "test"}
    write(root / "partition.csv", "Id,Proposal\n" + "".join(f"[{name}],{split}\n" for name, split in names.items()))
    for kind in ("egemaps", "faus"):
        for name in names:
            write(root / "feats" / kind / f"{name}.csv", "timestamp,segment_id,f0\n0,1,0.5\n")
    (root / "raw").mkdir()
    for name in names:
        make_clip(root / "raw" / f"{name}.mp4", 2)
    return root


def hume_abaw5(root: Path) -> Path:
    """The ABAW5 layout: emotions in another order, with a space for the hyphen, between other columns."""
    order = [REACTIONS[place] for place in (6, 4, 2, 0, 1, 3, 5)]
    header = ["File_ID", "Split", *(name.replace("-", " ") for name in order), "age", "country"]
    lines = [",".join(header)]
    for number, (name, split) in enumerate((("[201]", "Train"), ("[202]", "Val"), ("[203]", "Test"))):
        values = (
            dict(zip(REACTIONS, reactions(number), strict=True)) if split != "Test" else dict.fromkeys(REACTIONS, "")
        )
        lines.append(",".join([name, split, *(values[emotion] for emotion in order), "31.0", "South Africa"]))
    write(root / "data_info.csv", "\n".join(lines) + "\n")
    return root


def dfew(root: Path, *, layout: str = "label") -> Path:
    """Fold n tests clip n: `label` names clips by number, `EmoLabel_DataSplit` by five digits."""
    for fold in range(1, 6):
        for split in ("train", "test"):
            clips = [n for n in range(1, 8) if (n == fold) == (split == "test")]
            if layout == "label":
                path, names = root / "label" / f"single_{split}set_{fold}.csv", [str(n) for n in clips]
            else:
                path = root / "EmoLabel_DataSplit" / f"{split}(single-labeled)" / f"set_{fold}.csv"
                names = [f"{n:05d}" for n in clips]
            rows = "".join(f"{name},{number}\n" for name, number in zip(names, clips, strict=True))
            write(path, f"video_name,label\n{rows}", bom=fold == 2, crlf=fold == 3)
    for number in (1, 2, 3):
        for frame in (1, 2):
            still(root / "single_label" / "data" / f"{number:05d}" / f"{number:05d}_{frame:05d}.jpg")
    return root


def affectnet(root: Path) -> Path:
    """Stills 0-7 of each class and 8 without one; 5 has no valence. Numbers are kept as text, as in the real one."""
    for name in range(9):
        folder = root / ("val_set" if name in (3, 8) else "train_set")
        still(folder / "images" / f"{name}.jpg")
        notes = folder / "annotations"
        notes.mkdir(exist_ok=True)
        np.save(notes / f"{name}_exp.npy", np.array(str(name)))
        np.save(notes / f"{name}_val.npy", np.array("-2" if name in (5, 8) else str(name / 10)))
        np.save(notes / f"{name}_aro.npy", np.array(-2.0 if name == 8 else -name / 10, np.float32))
        np.save(notes / f"{name}_lnd.npy", np.zeros(136))
    return root
