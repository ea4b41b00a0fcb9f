"""From new media to what a head or a fine-tuned network needs, by the recipe in its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from affectkit.config import Numerics, Runtime
from affectkit.errors import UsageError, unknown
from affectkit.media import MEDIA_SUFFIXES, VIDEO_SUFFIXES
from affectkit.stages.audio import AudioConfig, extract_audio
from affectkit.stages.embed import EmbedConfig, embed
from affectkit.stages.faces import FacesConfig, extract_faces
from affectkit.stages.functionals import FunctionalsConfig, functionals
from affectkit.stages.map_stage import Outcome
from affectkit.store import Artifact, Cache, Failure, Features, features, upkeep
from affectkit.store.kinds import TRAINED, wrong_kind
from affectkit.types import Clip

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Replayed:
    """Features made from media: those of each input, the ids that all of them hold now, what failed on the way, and
    what the user must know of what was used."""

    features: list[Features]
    clips: list[str]
    failed: list[Failure]
    notices: tuple[str, ...]


def replay(
    cache: Cache, head: Artifact, clips: Sequence[Clip], runtime: Runtime, *, device: str = "auto",
    weights: Mapping[str, str] | None = None,
) -> Replayed:  # fmt: skip
    """Make the features that a head needs from media.

    `weights` (name of a stage, a detector or a backbone -> path) stands in for weight files that have moved. Raises
    UsageError when this installation cannot reproduce the recipe, before anything is computed.
    """
    done = _chains(cache, head, clips, runtime, device, weights or {})
    made = [features(one.artifact, column) for one, column in zip(done, head.stage.provenance["columns"], strict=True)]
    return Replayed(made, *_together(done))


@dataclass(frozen=True)
class Seen:
    """Crops or sound made from media: the artifact, the ids that it holds of these clips, what failed on the way, and
    what the user must know of what was used."""

    artifact: Artifact
    clips: list[str]
    failed: list[Failure]
    notices: tuple[str, ...]


def replay_upstream(
    cache: Cache, network: Artifact, clips: Sequence[Clip], runtime: Runtime, *, device: str = "auto",
    weights: Mapping[str, str] | None = None,
) -> Seen:  # fmt: skip
    """Make the crops or the sound that a fine-tuned network reads from media, as `replay` makes features."""
    (done,) = _chains(cache, network, clips, runtime, device, weights or {})
    return Seen(done.artifact, *_together([done]))


def _chains(
    cache: Cache, made: Artifact, clips: Sequence[Clip], runtime: Runtime, device: str, weights: Mapping[str, str]
) -> list[_Chain]:
    """The recipes of what `made` was trained on, each run on these clips; first without any, which finds out whether
    they can be."""
    chains = _recipes(made)
    known = {name for chain in chains for step in chain for name in _names(step)}
    if strangers := sorted(set(weights) - known):
        raise unknown("name in --weights-of", strangers[0], known)
    for chain in chains:
        _Chain(cache, [], runtime, device, weights).run(chain)
    done = []
    for chain in chains:
        done.append(_Chain(cache, clips, runtime, device, weights))
        done[-1].run(chain)
    return done


def _together(chains: Sequence[_Chain]) -> tuple[list[str], list[Failure], tuple[str, ...]]:
    """The ids that all of them hold, what failed in any, and what any says."""
    names = [name for name in chains[0].names if all(name in one.names for one in chains)]
    notices = dict.fromkeys(notice for one in chains for notice in one.notices)
    return names, [failure for one in chains for failure in one.failed], tuple(notices)


class _Chain:
    """One recipe on its way: the last artifact, the ids it holds of these clips, and what failed."""

    def __init__(
        self, cache: Cache, clips: Sequence[Clip], runtime: Runtime, device: str, weights: Mapping[str, str]
    ) -> None:
        self._cache, self._clips, self._runtime = cache, clips, runtime
        self._device, self._weights = device, weights
        self._current: Artifact | None = None
        self.names = [clip.id for clip in clips]
        self.failed: list[Failure] = []
        self.notices: list[str] = []

    @property
    def artifact(self) -> Artifact:
        assert self._current is not None, "a recipe begins with media"
        return self._current

    def run(self, chain: Sequence[Step]) -> None:
        for step in chain:
            stage = step["stage"]
            moved = [self._weights[name] for name in _names(step) if name in self._weights]
            config = step["config"] | ({"weights": moved[0]} if moved else {})
            outcome = _STEPS[stage](self, config, step)
            self._current = outcome.artifact
            _check(self._current, step)
            self.failed += outcome.failed
            self.notices += [notice for notice in outcome.notices if notice not in self.notices]
            self.names = self._current.clips if self.names else []

    def faces(self, config: dict[str, Any], step: Step) -> Outcome:
        if step["inputs"]["detector"]["name"] == "precropped":
            raise UsageError(
                "it was trained on folders of crops, which no recipe makes from media: "
                "extract faces and embed, then predict from those features"
            )
        chosen = FacesConfig.model_validate(config)
        return extract_faces(self._cache, self._clips, chosen, self._runtime, device=self._device)

    def audio(self, config: dict[str, Any], step: Step) -> Outcome:
        chosen = AudioConfig.model_validate(config)
        if chosen.vad == "mouth":
            raise UsageError(
                "it was trained on speech gated by a table of mouth openings, which no recipe makes from media: "
                "extract audio --vad mouth and embed, then predict from those features"
            )
        return extract_audio(self._cache, self._clips, chosen, self._runtime)

    def imported(self, config: dict[str, Any], step: Step) -> Outcome:
        raise UsageError(
            f"it was trained on imported features ({config['name']}), which no recipe makes from media: "
            "import those of the new clips under the same name, then predict from them"
        )

    def embed(self, config: dict[str, Any], step: Step) -> Outcome:
        numerics = Numerics.model_validate(step["numerics"] | {"device": self._device})
        chosen = EmbedConfig.model_validate(config)
        return embed(self._cache, self.artifact, chosen, numerics, self._runtime, clips=self.names)

    def functionals(self, config: dict[str, Any], step: Step) -> Outcome:
        chosen = FunctionalsConfig.model_validate(config)
        return functionals(self._cache, self.artifact, chosen, self._runtime, clips=self.names)


def media_suffixes(head: Artifact) -> frozenset[str]:
    """What counts as media in a folder for this head: sound alone is not enough where it sees faces."""
    first = {chain[0]["stage"] for chain in _recipes(head)}
    return VIDEO_SUFFIXES if "faces" in first else MEDIA_SUFFIXES


def _recipes(made: Artifact) -> list[list[Step]]:
    """Of each of the inputs that something was trained on. Raises UsageError for what was not trained."""
    if "features" not in made.stage.provenance:
        raise wrong_kind(made.path, made.stage.stage, *TRAINED)
    chains: list[list[Step]] = made.stage.provenance["features"]
    return chains


def _names(step: Step) -> list[str]:
    """What the weights of a step may be called by: its plugin, or its stage; none where it has no weights."""
    known = step["inputs"].get("backbone") or step["inputs"].get("detector")
    return [known["name"], step["stage"]] if known else []


_STEPS = {
    "faces": _Chain.faces,
    "audio": _Chain.audio,
    "embed": _Chain.embed,
    "functionals": _Chain.functionals,
    "import": _Chain.imported,
}


def _check(artifact: Artifact, step: Step) -> None:
    if artifact.stage.fingerprint == step["fingerprint"]:
        return
    other = artifact.stage.model_copy(update={"inputs": step["inputs"]})
    differs = [f"{key}: {then!r} -> {now!r}" for key, now, then in upkeep.differing(artifact.stage, other)]
    raise UsageError(
        f"this installation does not reproduce the head's {step['stage']} recipe ({'; '.join(differs)}): "
        "make the features again with train-head, or install what the recipe names"
    )
