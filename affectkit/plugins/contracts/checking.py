"""The obligations of every plugin and of each group, and a plugin's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from affectkit.errors import UsageError
from affectkit.plugins.contracts import backbones, datasets, detectors, fusers, heads, models, networks
from affectkit.plugins.contracts.candidate import Broken, Candidate, Obligation, hold, refused
from affectkit.plugins.contracts.light import loads_nothing_heavy
from affectkit.plugins.faults import Named, check_class


@dataclass(frozen=True)
class Verdict:
    """An obligation in words, and what broke it (None: it is kept)."""

    obligation: str
    broken: str | None = None


def is_whole(candidate: Candidate) -> None:
    """It has all that its group has: methods, `Options`, a whole `version`, a known `kind`."""
    try:
        check_class(Named(candidate.group, candidate.name, candidate.plugin))
    except UsageError as error:
        raise Broken(str(error)) from None


def is_described(candidate: Candidate) -> None:
    """Its docstring begins with what it is, and every option is described."""
    hold((candidate.plugin.__doc__ or "").strip().partition("\n")[0], "it has no docstring")
    fields = candidate.plugin.Options.model_fields
    bare = [name for name, field in fields.items() if not field.description]
    hold(not bare, f"options without a description: {', '.join(bare)}")


def is_light(candidate: Candidate) -> None:
    """Importing it loads nothing heavy: torch, timm, transformers and scikit-learn are imported inside functions."""
    loads_nothing_heavy([candidate.plugin])


def names_its_weights(candidate: Candidate) -> None:
    """`weights` says what they are: name, digest, licence and source."""
    for field in ("name", "sha256", "licence", "source"):
        value = getattr(candidate.weights, field)
        hold(isinstance(value, str) and value, f"the weights' {field} is {value!r}")


def refuses_weights_that_are_not_there(candidate: Candidate) -> None:
    """`weights` of a path that does not exist is a UsageError."""
    with TemporaryDirectory() as folder:
        absent = str(Path(folder) / "absent.pth")
        refused(lambda: candidate.plugin.weights(candidate.options, absent), UsageError, "a missing file of weights")


ANY: list[Obligation] = [is_whole, is_described, is_light]
WEIGHTS: list[Obligation] = [names_its_weights, refuses_weights_that_are_not_there]
_GROUPS: dict[str, list[Obligation]] = {
    "detectors": [*WEIGHTS, *detectors.OBLIGATIONS],
    "heads": heads.OBLIGATIONS,
    "networks": [*WEIGHTS, *networks.OBLIGATIONS],
    "fusers": fusers.OBLIGATIONS,
    "datasets": datasets.OBLIGATIONS,
}


def obligations(candidate: Candidate) -> list[Obligation]:
    """Those of a plugin's group, beside those of any plugin."""
    if candidate.group in ("backbones", "models"):
        room = backbones if candidate.group == "backbones" else models
        return [*WEIGHTS, *(room.IMAGE if candidate.plugin.kind == "image" else room.AUDIO)]
    return _GROUPS[candidate.group]


def sentence(obligation: Obligation) -> str:
    """An obligation in words."""
    return (obligation.__doc__ or "").partition("\n")[0].removesuffix(".")


def check(candidates: Sequence[Candidate]) -> Iterator[Verdict]:
    """The verdict on every obligation, one after another. The candidates are one plugin, one for each of the tasks that
    it is tried with."""
    for obligation in ANY:
        yield (verdict := _verdict(obligation, candidates[:1]))
        if obligation is is_whole and verdict.broken:
            return
    for obligation in obligations(candidates[0]):
        yield _verdict(obligation, candidates)


def _verdict(obligation: Obligation, candidates: Sequence[Candidate]) -> Verdict:
    for candidate in candidates:
        try:
            obligation(candidate)
        except Exception as error:
            cause = " ".join(str(error).split())
            if not isinstance(error, Broken):
                cause = f"{type(error).__name__}: {cause}"
            with_task = f"task {candidate.task.name}: " if candidate.task and len(candidates) > 1 else ""
            return Verdict(sentence(obligation), with_task + cause)
    return Verdict(sentence(obligation))
