"""From new media to what a head or a fine-tuned network needs, by the recipe in its provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from affectkit.config import Config, Numerics, Runtime
from affectkit.errors import UsageError, unknown
from affectkit.media import MEDIA_SUFFIXES
from affectkit.stages import bundled, catalogue
from affectkit.stages import inputs as what
from affectkit.stages.map_stage import MapStage
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Cache, Failure, Features, ancestors, feature_columns, features, upkeep
from affectkit.store.kinds import TRAINED, wrong_kind
from affectkit.types import Clip
from affectkit.weights import advising

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Replayed:
    """What a head or a network reads, made from media: one each of its inputs, the ids that all of them hold now, what
    failed on the way, what the user must know of what was used, and what its quality gates go by."""

    features: list[Features]
    clips: list[str]
    failed: list[Failure]
    notices: tuple[str, ...]
    face_quality: Features | None = None


def replay(
    cache: Cache, trained: Artifact, clips: Sequence[Clip], runtime: Runtime, *, device: str = "auto",
    weights: Mapping[str, str] | None = None,
) -> Replayed:  # fmt: skip
    """Run the recipes of what a head or a network was trained on, each on these clips.

    `weights` (name of a stage, a detector or a backbone -> path) stands in for weight files that have moved. Raises
    UsageError when this installation cannot reproduce a recipe, before anything is computed.
    """
    recipes, weights, names = _recipes(trained), weights or {}, weight_names(trained)
    if (gates := trained.stage.provenance.get("quality_gates")) is not None:
        recipes = [*recipes, gates["features"]]
    if strangers := sorted(set(weights) - names):
        raise unknown("name in --weights-of", strangers[0], names)
    context = Context(cache, runtime, device)
    for recipe in recipes:
        _Chain(context, trained, [], weights).run(recipe)
    chains = [_Chain(context, trained, clips, weights) for _ in recipes]
    for chain, recipe in zip(chains, recipes, strict=True):
        chain.run(recipe)
    columns = [*trained.stage.provenance["columns"], *([] if gates is None else [gates["name"]])]
    read = [_read(chain.artifact, column) for chain, column in zip(chains, columns, strict=True)]
    measured = None if gates is None else read.pop()
    shared = [name for name in chains[0].names if all(name in chain.names for chain in chains)]
    notices = dict.fromkeys(notice for chain in chains for notice in chain.notices)
    failed = {failure.clip: failure for chain in reversed(chains) for failure in reversed(chain.failed)}
    return Replayed(read, shared, sorted(failed.values(), key=lambda failure: failure.clip), tuple(notices), measured)


def _read(artifact: Artifact, name: str) -> Features:
    """A column or a component of features; of crops and sound the artifact itself."""
    return features(artifact, name) if feature_columns(artifact.schema) else Features(artifact, name)


class _Chain:
    """One recipe on its way: the last artifact, the ids it holds of these clips, and what failed. A step may read what
    an earlier one than the last has made: all are kept by their fingerprints."""

    def __init__(self, context: Context, trained: Artifact, clips: Sequence[Clip], weights: Mapping[str, str]) -> None:
        self._context, self._trained, self._clips, self._weights = context, trained, clips, weights
        self.current: Artifact | None = None
        self.made: dict[str, tuple[Artifact, list[str]]] = {}
        self.names = [clip.id for clip in clips]
        self.failed: list[Failure] = []
        self.notices: list[str] = []

    @property
    def artifact(self) -> Artifact:
        assert self.current is not None, "a recipe begins with media"
        return self.current

    def run(self, recipe: Sequence[Step]) -> None:
        for step in recipe:
            stage = _stage(step)
            moved = [self._weights[name] for name in _names(step) if name in self._weights]
            recorded = bundled.with_weights(self._trained, step["config"])
            config = stage.replayed(recorded | ({"weights": moved[0]} if moved else {}), step)
            with advising(f"--weights-of {_names(step)[0]}=PATH" if _names(step) else None):
                outcome = stage.run(self._inputs(stage, config, step), config, self._here(stage, step))
            self.current = outcome.artifact
            notices = (*outcome.notices, *_check(self._trained, self.current, step))
            self.failed += outcome.failed
            self.notices += [notice for notice in notices if notice not in self.notices]
            self.names = self.current.clips if self._read_by(stage, step) else []
            self.made[step["fingerprint"]] = self.current, self.names

    def _read_by(self, stage: MapStage, step: Step) -> Sequence[Any]:
        """What a step is given: the clips of the media, or the ids of what an earlier step made."""
        return self._clips if isinstance(stage.inputs[0], what.MediaInput) else self._of(step["inputs"]["upstream"])[1]

    def _inputs(self, stage: MapStage, config: Config, step: Step) -> Any:
        """The media, or the clips of what an earlier step made; and what else it reads, by its name in the recipe."""
        first, *rest = stage.inputs
        more = {
            each.name: self._named(step["inputs"][each.name]) for each in rest
            if isinstance(each, what.ArtifactsInput) and each.name in step["inputs"]
        }  # fmt: skip
        more |= {
            each.name: step["inputs"][each.name] for each in rest
            if isinstance(each, what.ValueInput) and each.name in step["inputs"]
        }  # fmt: skip
        if isinstance(first, what.MediaInput):
            return stage.Inputs(**{first.name: self._clips, **more})
        assert isinstance(first, what.ArtifactsInput)
        artifact, names = self._of(step["inputs"]["upstream"])
        is_features = "features" in first.makes
        source = features(artifact, getattr(config, "column", None) or "") if is_features else artifact
        return stage.Inputs(**{first.name: source, "clips": names, **more})

    def _named(self, identity: str) -> Features:
        """Features by their identity: a fingerprint and, after a colon, the column or component."""
        fingerprint, _, name = identity.partition(":")
        return features(self._of(fingerprint)[0], name)

    def _of(self, fingerprint: str) -> tuple[Artifact, list[str]]:
        """What an earlier step made, and the ids that it holds. Raises UsageError where none made it."""
        if fingerprint not in self.made:
            raise UsageError(
                f"the recipe in the provenance has a step that reads {fingerprint[:12]}, which none before it makes: "
                "train again, or predict from features"
            )
        return self.made[fingerprint]

    def _here(self, stage: MapStage, step: Step) -> Context:
        """The step's own numerics, on this device."""
        if not stage.has_numerics:
            return self._context
        numerics = Numerics.model_validate(step["numerics"] | {"device": self._context.device})
        return replace(self._context, numerics=numerics)


def weight_names(trained: Artifact) -> set[str]:
    """What the weight files of a model's recipe may be called by in `weights` of `replay`."""
    gates = trained.stage.provenance.get("quality_gates")
    recipes = [*_recipes(trained), *([] if gates is None else [gates["features"]])]
    return {name for recipe in recipes for step in recipe for name in _names(step)}


def media_suffixes(trained: Artifact) -> frozenset[str]:
    """What counts as media in a folder for a head or a network: sound alone is not enough where it sees faces."""
    suffixes = frozenset(MEDIA_SUFFIXES)
    for recipe in _recipes(trained):
        for first in (_stage(step).inputs[0] for step in recipe):
            if isinstance(first, what.MediaInput):
                suffixes &= frozenset(first.suffixes)
    return suffixes


def _stage(step: Step) -> MapStage:
    stage = catalogue.maker(step["stage"])
    assert isinstance(stage, MapStage)
    return stage


def _recipes(trained: Artifact) -> list[list[Step]]:
    """Of each of the inputs that something was trained on. Raises UsageError for what was not trained."""
    if "features" not in trained.stage.provenance:
        raise wrong_kind(trained.path, trained.stage.stage, *TRAINED)
    recipes: list[list[Step]] = trained.stage.provenance["features"]
    return recipes


def _names(step: Step) -> list[str]:
    """What the weights of a step may be called by: its plugin, or its stage; none where it has no weights."""
    plugin = step["inputs"].get("backbone") or step["inputs"].get("detector")
    return [plugin["name"], step["stage"]] if plugin else []


def _check(trained: Artifact, artifact: Artifact, step: Step) -> Iterator[str]:
    """What is to be known of a step that was reproduced. Raises UsageError where it was not."""
    if artifact.stage.fingerprint == step["fingerprint"]:
        return
    other = artifact.stage.model_copy(update={"inputs": step["inputs"]})
    differing = upkeep.differing(artifact.stage, other)
    if bundled.note_of(trained) is not None and all(_is_decoder(key) for key, _, _ in differing):
        yield from (
            f"{step['stage']}: pictures and sound are decoded by {now} here, and were by {then} where the model was "
            "trained: last digits may differ"
            for key, now, then in differing if key == "decoder"
        )  # fmt: skip
        return
    differs = [f"{key}: {then!r} -> {now!r}" for key, now, then in differing]
    raise UsageError(
        f"this installation does not reproduce the head's {step['stage']} recipe ({'; '.join(differs)}): "
        "make the features again with train-head, or install what the recipe names"
    )


def is_reproduced(trained: Artifact, place: int, features: Features) -> bool:
    """Whether what a model is to read in this place was made as its own features were: by the same recipe, of a model
    that came in a bundle but for the versions of the programs that decode."""
    wanted = trained.stage.provenance
    if bundled.note_of(trained) is None or features.column != wanted["columns"][place]:
        return False
    steps = [*ancestors(features.artifact), features.artifact]
    recorded = wanted["features"][place]
    return len(steps) == len(recorded) and all(
        _is_decoder(key)
        for each, step in zip(steps, recorded, strict=True)
        for key, _, _ in upkeep.differing(each.stage, each.stage.model_copy(update={"inputs": step["inputs"]}))
    )


def _is_decoder(key: str) -> bool:
    """Whether an input of a step may be another on another machine: what decodes, and what was made of that."""
    return key.partition(".")[0] in ("decoder", "upstream")
