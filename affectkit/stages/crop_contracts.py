"""Crops of a faces artifact made those that a network was trained on: cut again, stated by the user, or refused."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import ValidationError

from affectkit import plugins
from affectkit.config import explain
from affectkit.errors import ClipError, HostileFile, UsageError, named
from affectkit.stages.faces import PRECROPPED, FacesConfig
from affectkit.store import Artifact
from affectkit.tracks import CropConfig, decode_crop
from affectkit.tracks.recrop import Recrop, Recuts, described
from affectkit.types import Bools, Contract, Floats

MATCHING = "matching"
_LOSS = 1.05
"""Times more pixels that are worth telling."""
_LARGEST_CROP = 1024
_LOOKED_AT = 32
"""Clips of which a crop is looked at for colour."""
_COLOUR = 1.0
"""Grey levels that channels differ by, on average, where there is any colour."""


def stated(text: str) -> tuple[str, CropConfig | None]:
    """What a user says that crops made elsewhere are: in one spelling, and as a config (None: what the network wants).

    >>> stated("shape=square, margin=0.20")[0], stated("aligned")[0]
    ('margin=0.2,shape=square', 'aligned')

    Raises ValueError for anything else.
    """
    if text.strip() == MATCHING:
        return MATCHING, None
    if text.strip() == "aligned":
        return "aligned", CropConfig(align=True)
    pairs = [part.partition("=") for part in text.split(",")]
    values = {key.strip(): value.strip() for key, _, value in pairs}
    if len(values) < len(pairs) or "margin" not in values or values.keys() - {"margin", "shape"}:
        raise ValueError(f"margin=0.2,shape=square (or letterbox), aligned, or {MATCHING}: as the network wants them")
    try:
        config = CropConfig.model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    return f"margin={config.margin},shape={config.shape}", config


@dataclass
class CropMatch:
    """The crops of some clips, and what a network wants of them.

    recrop: how its geometry comes about; None where the user says that they match. stated: what the user says of crops
    that were made elsewhere.
    """

    network: str
    contract: Contract
    crops: Artifact
    clips: Sequence[str]
    recrop: Recrop | None
    stated: str | None = None

    @property
    def is_cut_again(self) -> bool:
        """Whether the network is given other pixels than are stored."""
        return self.recrop is not None and self.recrop.is_needed

    @property
    def identity(self) -> dict[str, Any]:
        """What it adds to the fingerprint: nothing where crops go to the network as they were stored for it."""
        said = {} if self.stated is None else {"crops": self.stated}
        if not self.is_cut_again:
            return said
        assert self.recrop is not None
        return {**said, "contract": self.recrop.wanted.model_dump(include={"margin", "shape", "align", "size"})}

    def cuts(self, clip: str) -> Recuts:
        """How each row of a clip is cut again."""
        assert self.recrop is not None
        return self.recrop.cuts(*self._geometry(clip))

    def check(self) -> None:
        """Raises UsageError where a stored crop doesn't show what is wanted of it, with the command that would do."""
        if lacking := self.lacking:
            assert self.recrop is not None
            said = f", as --crops-are {self.stated} says" if self.stated else ""
            raise UsageError(
                f"{self.network} wants crops that are {described(self.recrop.wanted)}; those of {self.crops.path} are "
                f"{described(self.recrop.stored)}{said}: {lacking}: {self._line()}"
            )

    @property
    def lacking(self) -> str:
        """What of the wanted crops the stored ones do not show, in words; empty where they show all."""
        if not self.is_cut_again:
            return ""
        if self.stated is not None:
            return self._lacking_of_stated()
        short = [clip for clip, covered in self._covered.items() if not covered.all() and self._is_whole(clip)]
        if not short:
            return ""
        faces = sum(int((~self._covered[clip]).sum()) for clip in short)
        total = sum(map(len, self._covered.values()))
        return (
            f"they don't show all of that for {faces:,} of {total:,} faces, in {len(short)} of {len(self._covered)} "
            f"clips ({named(short)})"
        )

    def notices(self) -> list[str]:
        """What the user must know: whether crops are cut again or taken on the user's word, and what pixels are
        missing."""
        wanted = f"{described(_config(self.contract, self.network))} {self.contract.size} px"
        if self.stated == MATCHING:
            return [
                f"crops made elsewhere are taken to be what {self.network} was trained on ({wanted}), as you say",
                *([] if self.contract.colour == "grey" else self._grey()),
            ]
        lines = [] if self.contract.colour == "grey" else self._grey()
        assert self.recrop is not None
        if self.is_cut_again:
            origin = "as you say " if self.stated else ""
            lines.append(
                f"crops are cut again for {self.network}: {wanted}, from {origin}{described(self.recrop.stored)} "
                f"{self.recrop.stored.size} px"
            )
        return lines + self._resolution()

    def _grey(self) -> list[str]:
        """A line where a network that was trained on colour is given clips without; some are looked at."""
        numbers = np.unique(np.linspace(0, max(0, len(self.clips) - 1), _LOOKED_AT).astype(int))
        clips = [self.clips[place] for place in numbers[: len(self.clips)]]
        looks = {clip: grey for clip in clips if (grey := self._is_grey(clip)) is not None}
        colourless = [clip for clip, is_grey in looks.items() if is_grey]
        if not colourless:
            return []
        are = "is" if len(colourless) == 1 else "are"
        return [
            f"{len(colourless)} of {len(looks)} clips looked at {are} without colour ({named(colourless)}), and "
            f"{self.network} was trained on colour"
        ]

    def _is_grey(self, clip: str) -> bool | None:
        """Whether the crop in the middle of a clip is grey; None where there is none."""
        rows = np.flatnonzero(self.crops.column(clip, "valid"))
        if not len(rows):
            return None
        try:
            pixels = decode_crop(self.crops.column(clip, "image")[int(rows[len(rows) // 2])]).astype(np.int16)
        except ClipError:
            return None
        return bool(np.abs(pixels - pixels[..., 1:2]).mean() < _COLOUR)

    def _resolution(self) -> list[str]:
        """A line where the network is given pixels that are made up."""
        enlarged, lost = self._enlarged_and_lost
        up = enlarged > _LOSS
        if not up.any():
            return []
        share, times = 100 * up.mean(), enlarged[up]
        line = (
            f"{up.sum():,} of {len(up):,} faces ({share:.0f} %) are enlarged to the {self.contract.size} px of "
            f"{self.network}, {np.median(times):.1f} times (at most {times.max():.1f})"
        )
        if self.stated is not None or self.is_foreign:
            return [line]
        less = lost > _LOSS
        if not less.any():
            return [f"{line}: the video has no more"]
        assert self.recrop is not None
        size = min(_LARGEST_CROP, int(np.ceil(self.recrop.stored.size * lost[less].max() / 16) * 16))
        return [
            f"{line}; of {less.sum():,} the video has up to {lost[less].max():.1f} times more pixels than are stored: "
            f"extract faces --size {size} keeps them"
        ]

    @property
    def is_foreign(self) -> bool:
        """Whether the crops were made elsewhere."""
        return is_foreign(self.crops)

    def _is_whole(self, clip: str) -> bool:
        """Whether a clip is as it was written; of one that is not, the stage tells when it comes to it."""
        try:
            self.crops.check(clip)
        except HostileFile:
            return False
        return True

    @property
    def _covered(self) -> dict[str, Bools]:
        """Of each clip, whether the crops of its faces show all of what is wanted."""
        return {clip: covered for clip, (covered, _, _) in self._of_faces.items()}

    @property
    def _enlarged_and_lost(self) -> tuple[Floats, Floats]:
        """Of the faces of all clips, see `Recuts`."""
        every = [(np.zeros(0), np.zeros(0)), *((enlarged, lost) for _, enlarged, lost in self._of_faces.values())]
        enlarged, lost = (np.concatenate(parts) for parts in zip(*every, strict=True))
        return enlarged, lost

    @cached_property
    def _of_faces(self) -> dict[str, tuple[Bools, Floats, Floats]]:
        """Of the faces of each clip: covered, enlarged, lost."""
        assert self.recrop is not None
        faces = {}
        for clip in self.clips:
            valid = np.asarray(self.crops.column(clip, "valid"), bool)
            boxes, landmarks = self._geometry(clip)
            cuts = self.recrop.cuts(boxes[valid], landmarks[valid])
            faces[clip] = cuts.covered, cuts.enlarged, cuts.lost
        return faces

    def _geometry(self, clip: str) -> tuple[Floats, Floats]:
        """boxes [T,4], landmarks [T,5,2]. Of crops that were stated, where the face's box must be in them."""
        boxes, landmarks = (np.asarray(self.crops.column(clip, name), np.float64) for name in ("boxes", "landmarks"))
        if not self.is_foreign or self.recrop is None:
            return boxes, landmarks
        stored = self.recrop.stored
        fraction = 0.0 if stored.align or stored.margin.endswith("px") else float(stored.margin)
        inset = stored.size * fraction / (1 + 2 * fraction)
        return np.tile([inset, inset, stored.size - inset, stored.size - inset], (len(boxes), 1)), landmarks

    def _lacking_of_stated(self) -> str:
        """Of crops that were made elsewhere no boxes are known: a lesser margin of the same shape is all that can be
        cut."""
        assert self.recrop is not None
        stored, wanted = self.recrop.stored, self.recrop.wanted
        is_alike = not stored.align and not wanted.align and stored.shape == wanted.shape
        has_pixels = "px" in stored.margin + wanted.margin
        if is_alike and not has_pixels and float(wanted.margin) <= float(stored.margin):
            return ""
        return "without the faces' boxes, only a lesser fraction of margin of the same shape can be cut out of them"

    def _line(self) -> str:
        """The command that would do."""
        wanted = _config(self.contract, self.network)
        geometry = (
            {"align": True} if wanted.align else {"margin": wanted.margin, "shape": wanted.shape}
        )  # fmt: skip
        config = {} if self.is_foreign else self.crops.stage.provenance.get("config", {})
        size = max(wanted.size, int(self.crops.stage.inputs["config"]["size"]))
        return extract_line({**config, "align": False, **geometry, "size": size})


def extract_line(settings: dict[str, Any]) -> str:
    """The command that cuts crops by these settings of `extract faces`; those at their defaults are left out, but for
    margin and shape."""
    words = ["affectkit", "extract", "faces", "MEDIA"]
    for name, field in FacesConfig.model_fields.items():
        value = settings.get(name, field.default)
        if value == field.default and (name not in ("margin", "shape") or settings.get("align")):
            continue
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            for each in value if isinstance(value, list) else [value]:
                words += [flag, str(each)]
    return shlex.join(words)


def is_foreign(crops: Artifact) -> bool:
    """Whether crops were made elsewhere, so that it isn't known what they show."""
    detector = crops.stage.inputs.get("detector")
    return not isinstance(detector, dict) or detector.get("name") == PRECROPPED


def stored_config(crops: Artifact) -> CropConfig:
    """How the crops of an artifact were cut. Raises HostileFile."""
    config = crops.stage.inputs.get("config")
    fields = {key: value for key, value in dict(config or {}).items() if key in CropConfig.model_fields}
    try:
        return CropConfig.model_validate(fields)
    except ValidationError as error:
        raise HostileFile(f"{crops.folder} does not say how its crops were cut: {explain(error)[:300]}") from None


def matched(
    network: str, contract: Contract | None, crops: Artifact, clips: Sequence[str], said: str | None
) -> CropMatch | None:
    """What makes the crops of these clips those of a contract; None for a network that takes any. `said`: what the user
    says of crops that were made elsewhere.

    Raises UsageError for crops that are not known and not stated, and those that don't show what is wanted.
    """
    if contract is None:
        if said is not None:
            raise UsageError(f"--crops-are is for networks that want a certain crop; {network} takes any")
        return None
    wanted = _config(contract, network)
    if not is_foreign(crops):
        if said is not None:
            raise UsageError(
                f"--crops-are is for crops made elsewhere; those of {crops.path} are known to be "
                f"{described(stored_config(crops))}, and are cut again where {network} wants others"
            )
        match = CropMatch(network, contract, crops, clips, Recrop(stored_config(crops), contract))
        match.check()
        return match
    if said is None:
        raise UsageError(
            f"{network} wants crops that are {described(wanted)} ({contract.size} px, {contract.colour}), and what "
            f"those of {crops.path} show is not known, since they were made elsewhere: say it by --crops-are "
            f"margin=0.2,shape=square (or letterbox; or aligned), or --crops-are {MATCHING}"
        )
    spelled, config = stated(said)
    recrop = None
    if config is not None:
        size = stored_config(crops).size
        recrop = Recrop(config.model_copy(update={"size": size}), contract)
    match = CropMatch(network, contract, crops, clips, recrop, spelled)
    match.check()
    return match


def _config(contract: Contract, network: str) -> CropConfig:
    """A contract's crop as a config. Raises PluginFault for one that can't be cut."""
    try:
        return CropConfig(margin=contract.margin, shape=contract.shape, align=contract.align, size=contract.size)
    except ValidationError as error:
        raise plugins.PluginFault(f"{network}: its contract is no crop: {explain(error)}") from None
