"""Image classifiers of the hub by a name of their own: what their files do not say is stated."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from affectkit.config import Config
from affectkit.learning import hub_files
from affectkit.learning.hub_files import HubImageOptions
from affectkit.learning.stated_crop import StatedCrop
from affectkit.models.hf_image import HfImage
from affectkit.plugins import CAUTION, ModelCard
from affectkit.tasks import Task
from affectkit.types import Contract
from affectkit.weights import WeightsFile, entry


class NamedOptions(Config):
    """Which version of the repository."""

    revision: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="commit, tag or branch of the repository, to pin it"
    )


class NamedHubImage(HfImage):
    """An image classifier whose repository is known: `repository` is its entry among the weights. `classes`, in order,
    is what its card states; its config is what counts."""

    Options: ClassVar[type[Config]] = NamedOptions
    repository: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    trained_on: ClassVar[str]
    reported: ClassVar[str]
    data_licence: ClassVar[str]
    trained_crop = StatedCrop(margin="0", shape="square")
    contract: ClassVar[Contract] = trained_crop.contract(224, "rgb", "as its preprocessor's config says")

    @classmethod
    def hub(cls, options: Any) -> HubImageOptions:
        """The classifier that is meant."""
        return HubImageOptions(model=str(entry(cls.repository).hub), revision=options.revision)

    @classmethod
    def crop(cls, options: Any) -> StatedCrop:
        """Faces that fill the picture, as those of FER2013 do."""
        return cls.trained_crop

    @classmethod
    def tasks(cls, options: Any, weights: WeightsFile) -> tuple[Task, ...]:
        """Its classes in the order of its config; without its files as its card states them. Raises UsageError."""
        if weights.path is None:
            return (hub_files.task(cls.classes, "single-label"),)
        return super().tasks(options, weights)

    @classmethod
    def crop_contract(cls, options: Any, weights: WeightsFile) -> Contract | None:
        """The crop with what its preprocessor says. Raises UsageError."""
        if weights.path is None:
            return cls.contract
        return super().crop_contract(options, weights)

    @classmethod
    def card(cls, options: Any, weights: WeightsFile) -> ModelCard:
        """What its repository states, and what was not looked at here. Raises UsageError."""
        about = entry(cls.repository)
        return ModelCard(
            name=cls.name, summary=(cls.__doc__ or "").partition("\n")[0], outputs=cls.tasks(options, weights),
            contract=cls.crop_contract(options, weights),
            licences={"code": "Apache-2.0 (transformers)", "weights": about.licence, "data": cls.data_licence},
            trained_on=cls.trained_on, reported=cls.reported,
            verified="the code, on random files of the same classes; not the file itself, nor its scores",
            failures="its repository does not say how faces were cut out: margin 0, because those of FER2013 fill "
            "the picture. Labels of FER2013 are noisy, and some of its classes rare (disgust).",
            intended=f"Research on expressions of single faces. {CAUTION}",
        )  # fmt: skip
