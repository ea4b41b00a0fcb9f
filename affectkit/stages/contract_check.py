"""`contract check`: what other crops than a model was trained on would do to its scores of these clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from affectkit import plugins
from affectkit.config import Config, Numerics, Runtime
from affectkit.devices import resolved
from affectkit.drawing.style import require_matplotlib
from affectkit.emotions import valence_index
from affectkit.errors import ClipError, UsageError
from affectkit.learning.crop_table import BrokenRow
from affectkit.plugins import ModelCard
from affectkit.prefetch import ahead, worker_count
from affectkit.stages.crop_contracts import CropMatch, is_foreign, matched, stated, stored_config
from affectkit.stages.embed import BATCH_SIZES
from affectkit.stages.sink import meter
from affectkit.store import Artifact
from affectkit.store.kinds import wrong_kind
from affectkit.tasks import Task
from affectkit.tracks import CropConfig, decode_crop
from affectkit.tracks.recrop import Recrop, Recut, described
from affectkit.types import Contract, Floats

MARGINS = ("0", "0.1", "0.2", "0.3", "0.4")
SHOWN = 5
"""Faces of which the picture has every crop."""
CLEAR = 0.1
"""A valence index nearer to 0 has no sign to speak of."""
Colour = Literal["as stored", "grey", "bgr"]
Images = NDArray[np.uint8]


class ContractCheckConfig(Config):
    """What is looked at."""

    option: list[str] = Field([], description="an option of the model, key=value (repeatable)")
    weights: str = Field("auto", description="auto, or a file")
    crops_are: str | None = Field(
        None,
        description="of folders of crops: margin=0.2,shape=square (or letterbox), aligned, or matching (as the model "
        "wants them)",
    )
    faces: int = Field(1000, ge=1, le=1_000_000, description="look at so many faces at most, spread over all clips")

    @field_validator("crops_are")
    @classmethod
    def _said_once(cls, crops_are: str | None) -> str | None:
        return None if crops_are is None else stated(crops_are)[0]


@dataclass(frozen=True)
class CropChoice:
    """One way to give a model its faces: its name, how they are cut (None: as they are stored), and their colours."""

    name: str
    match: CropMatch | None
    colour: Colour = "as stored"


@dataclass(repr=False)
class ChoiceScores:
    """What a model scores under one choice.

    scores [N,K]; mean [K]; changed: share of faces of another class than under the contract's own crop (None: the model
    has no classes); difference: mean absolute difference of scores from those; valence [N]: the valence index, and
    turned: share of faces where it has the other sign, both beyond `CLEAR` (None where the classes have no valence).
    """

    name: str
    scores: Floats
    changed: float | None = None
    difference: float = 0.0
    valence: Floats | None = None
    turned: float | None = None
    pictures: list[Images] = field(default_factory=list)

    @property
    def mean(self) -> Floats:
        """[K] of all faces."""
        return np.asarray(self.scores.mean(axis=0))

    def __repr__(self) -> str:
        return f"ChoiceScores({self.name}, {len(self.scores)} faces)"


@dataclass(frozen=True, repr=False)
class FaceSample:
    """Some faces of an artifact: the clip of each, its row there, and when it is seen (s)."""

    clips: list[str]
    rows: list[int]
    seconds: Floats
    total: int

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, repr=False)
class ContractReport:
    """Scores of every choice, the contract's own first, and the choices that are not stored."""

    card: ModelCard
    crops: Artifact
    stored: str
    sample: FaceSample
    choices: list[ChoiceScores]
    left_out: dict[str, str]
    notices: list[str]

    def __repr__(self) -> str:
        return f"ContractReport({self.card.name}, {len(self.choices)} choices)"

    @property
    def task(self) -> Task | None:
        """The classes that the model tells apart."""
        return classes_of(self.card)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        choices = [
            {
                "choice": outcome.name, "scores": dict(zip(self.card.columns, outcome.mean.tolist(), strict=True)),
                "class_changed": outcome.changed, "mean_difference": outcome.difference,
                "valence_index": None if outcome.valence is None else float(outcome.valence.mean()),
                "valence_turned": outcome.turned,
            }
            for outcome in self.choices
        ]  # fmt: skip
        return {
            "model": self.card.name, "crops": str(self.crops.path), "stored": self.stored, "faces": len(self.sample),
            "of": self.sample.total, "choices": choices, "left_out": self.left_out, "notices": self.notices,
        }  # fmt: skip


def classes_of(card: ModelCard) -> Task | None:
    """The first of a model's outputs that are classes."""
    return next((task for task in card.outputs if task.kind == "multiclass"), None)


def check_contract(
    model: str, crops: Artifact, clips: Sequence[str], config: ContractCheckConfig, numerics: Numerics, runtime: Runtime
) -> ContractReport:
    """Score the same faces under every choice of margin, shape, alignment and colour that their stored crops allow.

    Raises UsageError for a model without scores or that hears, crops that its contract cannot be cut from, and clips
    without a face.
    """
    if crops.stage.stage != "faces":
        raise wrong_kind(crops.path, crops.stage.stage, "faces")
    name, plugin, options = plugins.backbone(model, config.option)
    if not plugins.is_model(plugin):
        raise UsageError(f"{name} is no published model: it has no scores to compare (affectkit list models)")
    if plugin.kind != "image":
        raise UsageError(f"{name} listens: contracts are about crops of faces")
    weights = plugins.weights("models", name, plugin, options, config.weights)
    card: ModelCard = plugin.card(options, weights)
    reference = matched(name, card.contract or _stored_contract(crops, name, config), crops, clips, config.crops_are)
    assert reference is not None
    sample = _sample(crops, clips, config.faces)
    choices, left_out = _choices(reference)
    asked = resolved(numerics, BATCH_SIZES["image"])
    network = plugins.instance("models", name, plugin, options, weights, asked)
    assert asked.batch_size is not None
    results = {choice.name: ChoiceScores(choice.name, np.zeros((0, 0))) for choice in choices}
    scored: dict[str, list[Floats]] = {choice.name: [] for choice in choices}
    shown = set(np.linspace(0, len(sample) - 1, min(SHOWN, len(sample))).astype(int).tolist())
    with (
        ThreadPoolExecutor(worker_count(runtime)) as pool,
        meter(f"contract of {name}", 1, "faces", runtime.progress, len(sample)) as counter,
    ):
        batches = _batches(sample, asked.batch_size)
        for faces, cut in ahead(batches, lambda faces: _cut(crops, sample, faces, choices, pool)):
            for choice, images in zip(choices, cut, strict=True):
                padded = np.zeros((asked.batch_size, *images.shape[1:]), np.uint8)
                padded[: len(faces)] = images
                scores = network.scores(np.ascontiguousarray(padded.transpose(0, 3, 1, 2)))
                scored[choice.name].append(np.asarray(scores, np.float64)[: len(faces)])
                results[choice.name].pictures += [images[place] for place, face in enumerate(faces) if face in shown]
            counter.advance(rows=len(faces))
    for choice_name, parts in scored.items():
        results[choice_name].scores = np.concatenate(parts)
    compared = list(results.values())
    _compare(compared, card)
    return ContractReport(
        card, crops, _said_of(crops, config), sample, compared, left_out,
        [*([] if card.contract else [f"{name} states no contract: compared with crops as they are stored"]),
         *reference.notices()],
    )  # fmt: skip


def draw_contract(report: ContractReport, folder: Path) -> Path:
    """The choices as a picture, PNG and SVG; returns the PNG file. Raises MissingExtra without matplotlib."""
    require_matplotlib()
    from affectkit.stages.contract_figures import draw_choices

    return draw_choices(report, folder)


def _stored_contract(crops: Artifact, name: str, config: ContractCheckConfig) -> Contract:
    """The stored crop as a contract, for a model without one."""
    if is_foreign(crops):
        if config.crops_are is None or (cut := stated(config.crops_are)[1]) is None:
            raise UsageError(
                f"{name} states no contract, and what the crops of {crops.path} show is not known, since they were "
                "made elsewhere: say it by --crops-are margin=0.2,shape=square"
            )
    else:
        cut = stored_config(crops)
    return Contract(cut.margin, cut.shape, stored_config(crops).size, cut.align)


def _said_of(crops: Artifact, config: ContractCheckConfig) -> str:
    if not is_foreign(crops):
        return described(stored_config(crops))
    return f"made elsewhere, {config.crops_are}"


def _choices(reference: CropMatch) -> tuple[list[CropChoice], dict[str, str]]:
    """The ways to give the faces, the contract's own first, and why others are left out."""
    contract = reference.contract
    said = described(_as_config(contract))
    choices, left_out = [CropChoice(f"its contract ({said})", reference)], {}
    stored = reference.recrop.stored if reference.recrop is not None else None
    for name, other in _others(contract, stored):
        if stored is None:
            left_out[name] = "it is not known what the crops show"
            continue
        match = CropMatch(
            reference.network, other, reference.crops, reference.clips, Recrop(stored, other), reference.stated
        )
        if why := match.lacking:
            left_out[name] = why
        else:
            choices.append(CropChoice(name, match))
    colours: tuple[Colour, ...] = ("grey", "bgr")
    choices += [
        CropChoice("grey" if colour == "grey" else "red and blue swapped", reference, colour) for colour in colours
    ]
    return choices, left_out


def _others(contract: Contract, stored: CropConfig | None) -> Iterator[tuple[str, Contract]]:
    """Contracts that differ from one in what they show: other margins, the other shape, aligned, as stored."""
    shape = contract.shape
    margin = "0" if contract.align else contract.margin
    candidates = [(f"margin {each}", Contract(each, shape, contract.size)) for each in MARGINS]
    other: Literal["square", "letterbox"] = "letterbox" if shape == "square" else "square"
    candidates.append((other, Contract(margin, other, contract.size)))
    candidates.append(("aligned", Contract("0", "square", contract.size, True)))
    if stored is not None:
        as_stored = Contract(stored.margin, stored.shape, contract.size, stored.align)
        candidates.append((f"as stored ({described(stored)})", as_stored))
    wanted = CropConfig(margin=contract.margin, shape=shape, align=contract.align, size=contract.size)
    seen: list[Contract] = []
    for name, each in candidates:
        if not Recrop(wanted, each).is_needed or any(not Recrop(_as_config(before), each).is_needed for before in seen):
            continue
        seen.append(each)
        yield name, each


def _as_config(contract: Contract) -> CropConfig:
    return CropConfig(margin=contract.margin, shape=contract.shape, align=contract.align, size=contract.size)


def _sample(crops: Artifact, clips: Sequence[str], most: int) -> FaceSample:
    """Faces spread evenly over all rows that have one. Raises UsageError where there is none."""
    valid = [np.flatnonzero(crops.column(clip, "valid")) for clip in clips]
    total = sum(map(len, valid))
    if not total:
        raise UsageError(f"{crops.path} holds no face in any row of {len(clips)} clips")
    at = np.unique(np.linspace(0, total - 1, min(most, total)).astype(np.int64))
    clip_of = np.repeat(np.arange(len(clips)), [len(rows) for rows in valid])[at]
    rows = np.concatenate(valid)[at].tolist()
    names = [clips[number] for number in clip_of.tolist()]
    seconds = np.array(
        [float(crops.column(clip, "start")[row]) for clip, row in zip(names, rows, strict=True)], np.float64
    )
    return FaceSample(names, rows, seconds, total)


def _batches(sample: FaceSample, size: int) -> Iterator[list[int]]:
    """The numbers of the faces, `size` at a time."""
    numbers = iter(range(len(sample)))
    while batch := list(islice(numbers, size)):
        yield batch


def _cut(
    crops: Artifact, sample: FaceSample, faces: list[int], choices: Sequence[CropChoice], pool: ThreadPoolExecutor
) -> list[Images]:
    """Of each choice the crops of these faces, uint8 [N,S,S,3]."""
    which = [(sample.clips[face], sample.rows[face]) for face in faces]
    cuts = [_cuts(choice, which) for choice in choices]

    def every_choice(place: int) -> list[Images]:
        clip, row = which[place]
        try:
            pixels = decode_crop(crops.column(clip, "image")[row])
        except ClipError as error:
            raise BrokenRow(crops, clip, row, str(error)) from None
        return [
            _coloured(pixels if cut[place] is None else cut[place](pixels), choice.colour)  # type: ignore[misc]
            for choice, cut in zip(choices, cuts, strict=True)
        ]

    faces_cut = list(pool.map(every_choice, range(len(which))))
    return [np.stack(images) for images in zip(*faces_cut, strict=True)]


def _cuts(choice: CropChoice, which: Sequence[tuple[str, int]]) -> list[Recut | None]:
    if choice.match is None or not choice.match.is_cut_again:
        return [None] * len(which)
    of_clip = {clip: choice.match.cuts(clip) for clip in dict.fromkeys(clip for clip, _ in which)}
    return [of_clip[clip][row] for clip, row in which]


def _coloured(pixels: Images, colour: Colour) -> Images:
    if colour == "as stored":
        return pixels
    if colour == "bgr":
        return pixels[..., ::-1]
    grey = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)  # ITU-R BT.601, as PIL's "L"
    return np.repeat(grey[..., None], 3, axis=2)


def _compare(choices: Sequence[ChoiceScores], card: ModelCard) -> None:
    """Fill in how the choices differ from the first."""
    columns, task = list(card.columns), classes_of(card)
    reference = choices[0]
    for outcome in choices:
        outcome.difference = float(np.abs(outcome.scores - reference.scores).mean())
        outcome.valence = valence_index(outcome.scores, columns)
        if outcome.valence is not None and reference.valence is not None:
            clear = np.minimum(np.abs(outcome.valence), np.abs(reference.valence)) > CLEAR
            outcome.turned = float((clear & (np.sign(outcome.valence) != np.sign(reference.valence))).mean())
        if task is not None:
            at = [columns.index(target) for target in task.targets]
            changed = outcome.scores[:, at].argmax(axis=1) != reference.scores[:, at].argmax(axis=1)
            outcome.changed = float(changed.mean())
