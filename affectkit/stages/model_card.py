"""The card of a trained model: what is known of it, as a person may read and edit it, and as a `ModelCard`.

A bundle holds the card as `card.toml`. What a model gives and must be given (its task, its crop, its recipe) is not
told there but read off the model itself.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from affectkit.config import Config, validate
from affectkit.errors import AffectkitError, UsageError
from affectkit.plugins import CAUTION, ModelCard
from affectkit.stages import bundled, catalogue
from affectkit.stages.fit_stage import FitStage
from affectkit.stages.trained import lineage, stored_task, trained_report
from affectkit.store import Artifact, ancestors, open_artifact
from affectkit.store.kinds import TRAINED, wrong_kind
from affectkit.tasks import Task
from affectkit.types import Contract
from affectkit.untrusted import read_toml

LONGEST = 20_000
_HEAD = """# What is known of this model. Edit any text, then put it into the bundle again:
#   affectkit export MODEL --to bundle --card THIS_FILE --out MODEL.affect
"""
_CODE = "Apache-2.0 (affectkit)"
_NON_COMMERCIAL = ("-NC", "NON-COMMERCIAL", "NONCOMMERCIAL", "RESEARCH")

Said = Field("", max_length=LONGEST)


class CardLicences(Config):
    """Of the code, of the weights (the worst first), of the data."""

    code: str = Said
    weights: str = Said
    data: str = Said


class CardText(Config):
    """What `card.toml` holds: texts that a person may edit."""

    name: str = Field(min_length=1, max_length=200)
    summary: str = Said
    trained_on: str = Said
    reported: str = Said
    verified: str = Said
    failures: str = Said
    intended: str = Said
    made: str = Said
    licences: CardLicences = CardLicences()


def card_of(artifact: Artifact) -> ModelCard:
    """What is known of a trained head or network, or of what came in a bundle. Raises UsageError for anything else."""
    text, task = text_of(artifact), task_of(artifact)
    licences = {name: told for name, told in text.licences.model_dump().items() if told}
    told = text.model_dump(exclude={"licences", "made"})
    return ModelCard(outputs=(task,), contract=contract_of(artifact), licences=licences, **told)


def text_of(artifact: Artifact) -> CardText:
    """The card that came in a model's bundle, else one that is written of what is known. Raises UsageError."""
    if (folder := bundled.folder_of(artifact)) is not None:
        return read_card(folder / bundled.CARD_FILE)
    return written(artifact)


def read_card(path: Path) -> CardText:
    """A card as a person edited it. Raises UsageError, which names the line or the key that is wrong."""
    _, tree = read_toml(path, "a model's card (affectkit export MODEL --to card)")
    return validate(CardText, tree, f"the card {path}")


def toml_of(text: CardText) -> str:
    """A card as it is kept and edited."""
    told = text.model_dump()
    licences = told.pop("licences")
    lines = [f"{name} = {_quoted(value)}" for name, value in told.items()]
    return "\n".join([_HEAD, *lines, "", "[licences]", *(f"{k} = {_quoted(v)}" for k, v in licences.items())]) + "\n"


def written(artifact: Artifact, scores: str = "") -> CardText:
    """A card of what is known of a head, a network or a fusion. `scores`: what is said of them in place of those that
    the model was selected by."""
    task, method = task_of(artifact), artifact.stage.name
    kind = {"finetune": "fine-tuned network", "train-head": "head"}.get(artifact.stage.stage, "fusion")
    models = members_of(artifact)
    parts = f" of {len(artifact.stage.inputs['predictions'])} sets of scores" if kind == "fusion" else ""
    weights = weights_of(artifact)
    return CardText(
        name=f"{task.name}-{method}",
        summary=f"{method} ({kind}{parts}) for {task.name}: {', '.join(task.targets)}"
        + "".join(dict.fromkeys(f"; reads {recipe_said(recipe)}" for recipe in recipes_of(artifact))),
        trained_on=_trained_on(artifact, models),
        reported=scores or _selected_by(artifact),
        verified="not verified by affectkit",
        failures="none are recorded",
        intended=f"Research on expressions. {CAUTION}",
        made=_made(artifact),
        licences=CardLicences(code=_CODE, weights=licences_of(weights), data="not stated: ask whoever gave the labels"),
    )


def task_of(artifact: Artifact) -> Task:
    """What a trained model or a fusion predicts. Raises UsageError for anything else."""
    stage = artifact.stage.stage
    if stage in TRAINED:
        return stored_task(trained_report(artifact))
    if stage not in ("fuse", bundled.SYSTEM):
        raise wrong_kind(artifact.path, stage, *TRAINED)
    return validate(Task, artifact.stage.inputs["task"], "the task of a fusion")


def members_of(artifact: Artifact) -> list[Artifact]:
    """The heads and networks of a fusion or a fused system, whatever of them is still there; a model itself alone."""
    stage = artifact.stage.stage
    if stage == bundled.SYSTEM:
        folders = sorted((artifact.folder / "members").glob("*/"), key=lambda folder: folder.name)
        return [model for folder in folders for model in members_of(open_artifact(folder))]
    if stage != "fuse":
        return [artifact]
    models: dict[Path, Artifact] = {}
    with suppress(AffectkitError):
        for each in ancestors(artifact):
            if each.stage.stage in TRAINED:
                models[each.folder] = each
    return list(models.values())


def contract_of(artifact: Artifact) -> Contract | None:
    """The crop that a model must be given, that of its first recipe which begins with faces; None for sound alone."""
    for recipe in recipes_of(artifact):
        config = recipe[0].get("config")
        if recipe[0]["stage"] == "faces" and isinstance(config, dict) and {"margin", "shape", "size"} <= config.keys():
            return Contract(config["margin"], config["shape"], config["size"], align=bool(config.get("align")))
    return None


def recipes_of(artifact: Artifact) -> list[list[dict[str, Any]]]:
    """From media to what is read: of each input of a model, of a fusion those of all its models."""
    if artifact.stage.stage == "fuse":
        return _recipes_behind(artifact)
    return [
        recipe for model in members_of(artifact) for recipe in model.stage.provenance.get("features", ()) if recipe
    ]  # fmt: skip


def _recipes_behind(artifact: Artifact) -> list[list[dict[str, Any]]]:
    """Those of the models, trained and published, that a fusion combines, as far as they are still there."""
    recipes: list[list[dict[str, Any]]] = []
    with suppress(AffectkitError):
        for each in ancestors(artifact):
            if each.stage.stage in TRAINED:
                recipes += each.stage.provenance.get("features", ())
            elif each.stage.stage == "predict" and "card" in each.stage.provenance:
                recipes += [lineage(open_artifact(path)) for path in each.stage.upstream]
    return recipes


def weights_of(artifact: Artifact) -> list[dict[str, Any]]:
    """The files of weights behind a model, as their steps' provenance tells of them: all that is still there."""
    files: dict[str, dict[str, Any]] = {}
    with suppress(AffectkitError):
        for each in (*ancestors(artifact), artifact):
            about = each.stage.provenance.get("weights")
            if isinstance(about, dict) and isinstance(about.get("sha256"), str):
                files.setdefault(f"{about.get('name')} {about['sha256']}", about)
    return list(files.values())


def licences_of(weights: Sequence[Mapping[str, Any]]) -> str:
    """The licences of some files of weights in one text, those that forbid most first."""
    told = dict.fromkeys((str(about.get("name")), str(about.get("licence"))) for about in weights)
    if not told:
        return "unknown: what the model was made from is not there any more"
    ordered = sorted(told, key=lambda pair: (not forbids_commerce(pair[1]), "unknown" not in pair[1].lower(), pair))
    text = "; ".join(f"{name}: {licence}" for name, licence in ordered)
    return f"NO COMMERCIAL USE. {text}" if forbids_commerce(ordered[0][1]) else text


def forbids_commerce(licence: str) -> bool:
    """Whether a licence says that it is for no commercial use."""
    return any(word in licence.upper() for word in _NON_COMMERCIAL)


def recipe_said(recipe: Sequence[Mapping[str, Any]]) -> str:
    """The steps of a recipe in a line."""
    return " -> ".join(_step_said(step) for step in recipe)


def scores_said(artifact: Artifact, report: Artifact) -> str:
    """What `evaluate` found of this model, with the intervals that exist. Raises UsageError where the report is of
    anything else."""
    if report.stage.stage != "evaluate":
        raise wrong_kind(report.path, report.stage.stage, "evaluate")
    stage = catalogue.get("evaluate")
    assert isinstance(stage, FitStage)
    said = stage.report_of(report)
    checked = _is_scored(artifact, report)
    if checked is False:
        raise UsageError(f"--scores {report.path} is of other predictions than those of {artifact.path}")
    scores = {name: value for name, value in said["scores"].items() if not name.startswith("clip-mean/")}
    bounds = {name: said["intervals"][name] for name in scores if name in said["intervals"]}
    parts = [f"{name} {value:.3f}" + ("" if name not in bounds else f" [{bounds[name][0]:.3f}, {bounds[name][1]:.3f}]")
             for name, value in scores.items()]  # fmt: skip
    where = f"split {said['split']}: {_count(said['clips'], 'clip')}, {_count(said['rows'], 'row')}"
    made = f"intervals of {said['bootstrap']['level']:.0%} by {said['bootstrap']['by']}" if bounds else "no intervals"
    doubt = "" if checked else "; whose predictions these were could not be checked"
    cautions = f" Cautions: {'; '.join(said['cautions'])}." if said["cautions"] else ""
    return f"{', '.join(parts)} ({where}; {made}{doubt}).{cautions}"


def markdown_of(artifact: Artifact, text: CardText) -> str:
    """A card as a page for people: its texts, and what is read off the model."""
    task, contract = task_of(artifact), contract_of(artifact)
    crop = "no crops: it hears" if contract is None else (
        "eyes, nose and mouth aligned" if contract.align else f"margin {contract.margin}, {contract.shape}"
    ) + f", {contract.size} px stored"  # fmt: skip
    rows = "a row a clip" if task.level == "clip" else "over time"
    paragraphs = [
        f"# {text.name}", text.summary, f"**{CAUTION}**",
        "## What it gives", f"Task `{task.name}` ({task.kind}, {rows}): "
        f"{', '.join(f'`{target}`' for target in task.targets)}. {_smoothing_said(artifact)}",
        "## What it is given", f"Crops: {crop}. From media:",
        "\n".join(dict.fromkeys(f"- `{recipe_said(recipe)}`" for recipe in recipes_of(artifact))),
        "## Trained on", text.trained_on, "## Scores", text.reported, "## Licences",
        "\n".join(f"- {name}: {told}" for name, told in text.licences.model_dump().items() if told),
        "## Known failures", text.failures, "## Intended use", text.intended, "## Checked", text.verified,
        "## How it was made", text.made,
    ]  # fmt: skip
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def splits_of(artifact: Artifact) -> dict[str, str]:
    """The split of each clip that a model was trained with; of a fusion, that of each row's clip."""
    if artifact.stage.stage in TRAINED:
        return dict(trained_report(artifact)["splits"])
    if artifact.stage.table is None:
        return {}
    return {clip: str(artifact.column(clip, "split")) for clip in artifact.clips}


def _trained_on(artifact: Artifact, models: Sequence[Artifact]) -> str:
    """Data, splits, and how many clips and subjects are in each."""
    source = artifact if artifact.stage.stage in TRAINED or not models else models[0]
    counts = Counter(split for split in splits_of(source).values() if split)
    subjects = _subjects(source)
    parts = []
    for split in ("train", "val", "test"):
        if counts[split]:
            people = {subjects[clip] for clip, told in splits_of(source).items() if told == split and clip in subjects}
            of_people = f" of {_count(len(people), 'subject')}" if people else ""
            parts.append(f"{split}: {_count(counts[split], 'clip')}{of_people}")
    labels = _option(source, "--labels") or _option(source, "--dataset")
    named = f"labels: {Path(labels).name}; " if labels else ""
    fitted = "; the fusion was fitted on val" if artifact.stage.stage == "fuse" else ""
    return f"{named}{', '.join(parts) or 'splits are not known'}{fitted}"


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def _subjects(artifact: Artifact) -> dict[str, str]:
    """Who is in each clip, as far as what the model was made from is still there and says so."""
    subjects: dict[str, str] = {}
    with suppress(AffectkitError):
        for path in artifact.stage.upstream:
            table = open_artifact(path).clip_table()
            subjects |= {clip: str(entry["subject"]) for clip, entry in table.items() if entry.get("subject")}
    return subjects


def _selected_by(artifact: Artifact) -> str:
    """The score that a model was selected by, said to be that."""
    if artifact.stage.stage in TRAINED:
        score = trained_report(artifact)["val_score"]
        if score["mean"] is None:
            return "none: there were no validation clips"
        spread = f" ± {score['deviation']:.3f} over seeds" if score["deviation"] else ""
        return (
            f"{score['metric']} {score['mean']:.3f}{spread} on the validation clips: the score that the model was "
            "selected by, which flatters"
        )
    if artifact.stage.stage == "fuse":
        stage = catalogue.get("fuse")
        assert isinstance(stage, FitStage)
        held_out = stage.report_of(artifact)["held_out"]
        fused = ", ".join(
            f"{name} {value:.3f}" for name, value in held_out.get("scores", {}).items() if name == "fused"
        )
        return f"held out ({held_out['how']}): {fused or 'no score'}"
    return "none are known"


def _made(artifact: Artifact) -> str:
    """By which affectkit, when, and by which line where one is known."""
    provenance = artifact.stage.provenance
    command = provenance.get("command")
    words = [_short(str(word)) for word in command[1:]] if isinstance(command, list) else []
    is_ours = bool(command) and Path(str(command[0])).stem in ("affectkit", "__main__") if command else False
    line = f", by `{shlex.join(['affectkit', *words])}`" if is_ours else ""
    return f"affectkit {provenance.get('affectkit', '?')}, {str(provenance.get('created', '?'))[:10]}{line}"


def _short(word: str) -> str:
    """A word of a command without the folders of whoever gave it."""
    return Path(word).name if os.path.isabs(word) else word  # noqa: PTH117


def _option(artifact: Artifact, flag: str) -> str:
    command = artifact.stage.provenance.get("command")
    if not isinstance(command, list) or flag not in command[:-1]:
        return ""
    return str(command[command.index(flag) + 1])


def _smoothing_said(artifact: Artifact) -> str:
    if artifact.stage.stage not in TRAINED:
        return ""
    said = trained_report(artifact).get("smoothing")
    if not said or not said["half_width"]:
        return "Not smoothed."
    return f"Smoothed: {said['kind']}, {said['half_width']:g} s to either side."


def _step_said(step: Mapping[str, Any]) -> str:
    inputs = step["inputs"]
    plugin = inputs.get("detector") or inputs.get("backbone")
    return f"{step['stage']} {plugin['name']}" if isinstance(plugin, dict) else str(step["stage"])


def _is_scored(artifact: Artifact, report: Artifact) -> bool | None:
    """Whether a report is of this model's predictions; None where that cannot be known any more."""
    with suppress(AffectkitError):
        for path in report.stage.upstream[:1]:
            predictions = open_artifact(path)
            inputs = predictions.stage.inputs
            made_by = inputs.get("head") or inputs.get("network") or inputs.get("system")
            return bool(bundled.fingerprints_of(artifact) & {predictions.stage.fingerprint, made_by})
    return None


def _quoted(text: str) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
