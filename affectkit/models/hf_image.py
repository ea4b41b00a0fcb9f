"""Any image classifier of the Hugging Face hub that transformers has a network for, or of a folder.

Its classes are those of its config, its input is prepared as its preprocessor's config says, its weights are
safetensors, and no code of a repository is run. No file of the hub says which crop of a face a classifier was trained
on, and a wrong one can turn scores round. So nothing is claimed: it is given crops as they are cut, which a note says,
until the crop is stated (`-o margin=0`, for the many that were trained on FER2013, whose faces fill the picture).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from affectkit.config import Config, Numerics
from affectkit.learning import hub_files
from affectkit.learning import speech_files as files
from affectkit.learning.hub_files import HubImageOptions, HubOptions
from affectkit.learning.stated_crop import StatedCrop
from affectkit.plugins import ModelCard
from affectkit.tasks import Task
from affectkit.types import Contract
from affectkit.weights import WeightsFile


class HfImage:
    """Any image classifier of the Hugging Face hub, or of a folder: `-o model=USER/REPO`."""

    version: ClassVar[int] = 1
    kind: ClassVar[Literal["image"]] = "image"
    Options: ClassVar[type[Config]] = HubImageOptions
    name: ClassVar[str] = "hf-image"

    @classmethod
    def weights(cls, options: Any, choice: str) -> WeightsFile:
        """`auto`: the model's files, from the hub cache, else downloaded, or from its folder; `random`: its config with
        seeded random weights, only if asked for; else another folder. Imports no torch. Raises UsageError."""
        return hub_files.resolved(hub_files.place(cls.hub(options), choice, cls.name), choice)

    @classmethod
    def hub(cls, options: Any) -> HubOptions:
        """The classifier that is meant."""
        assert isinstance(options, HubOptions)
        return options

    @classmethod
    def crop(cls, options: Any) -> StatedCrop | None:
        """The crop that it was trained on, where that is stated."""
        stated: StatedCrop | None = options.crop()
        return stated

    @classmethod
    def tasks(cls, options: Any, weights: WeightsFile) -> tuple[Task, ...]:
        """Its classes or values. Raises UsageError."""
        path = hub_files.folder_of(weights) / files.CONFIG
        config, told = hub_files.described(path), cls.hub(options)
        names = hub_files.classes(config, told, path)
        return (hub_files.task(names, hub_files.problem(config, told, len(names), path)),)

    @classmethod
    def crop_contract(cls, options: Any, weights: WeightsFile) -> Contract | None:
        """The crop with what its preprocessor says; None where nobody has stated it. Raises UsageError."""
        seeing = hub_files.seeing(hub_files.folder_of(weights) / files.PREPROCESSOR)
        crop = cls.crop(options)
        return None if crop is None else crop.contract(seeing.side or 224, "rgb", seeing.words)

    @classmethod
    def card(cls, options: Any, weights: WeightsFile) -> ModelCard:
        """What its files say of it. Raises UsageError."""
        contract = cls.crop_contract(options, weights)
        return hub_files.card(cls.name, weights, cls.tasks(options, weights), contract, sees=True)

    def __init__(self, options: Any, weights: WeightsFile, numerics: Numerics) -> None:
        from affectkit.learning.image_backbone import ImageNetwork
        from affectkit.learning.speech_backbone import read_tensors
        from affectkit.nets.hub_images import HubPreprocessing, classifier

        assert weights.path is not None
        path = weights.path / files.CONFIG
        config = hub_files.described(path)
        (task,) = self.tasks(options, weights)
        seeing = hub_files.seeing(weights.path / files.PREPROCESSOR)
        preprocessing = HubPreprocessing(seeing)
        tensors = None if files.is_random(weights) else read_tensors(weights.path)
        what = hub_files.problem(config, self.hub(options), len(task.targets), path)
        built = classifier(config, tensors, len(task.targets), what, preprocessing.size[0], path)
        self.network = ImageNetwork(built.body, built.forward, preprocessing, numerics)
        if built.last is not None:
            built.last.requires_grad_(False).to(numerics.device)
        self.dim = built.dim

    def __call__(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,D], what its last layer reads."""
        return self.network(batch)[:, : self.dim]

    def scores(self, batch: Any) -> NDArray[np.float32]:
        """uint8 [N,3,H,W] -> float32 [N,K]."""
        return self.network(batch)[:, self.dim :]


PLUGIN = HfImage
