"""Making a bundle of a trained head, a network or a fusion: all that predicting needs, in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from affectkit import __version__, plugins
from affectkit.config import fingerprint, validate
from affectkit.digests import sha256_file
from affectkit.errors import HostileFile, UsageError
from affectkit.learning import saved
from affectkit.stages import bundled, catalogue, model_card
from affectkit.stages.bundle import CONTENT, WEIGHTS, problems_of
from affectkit.stages.embed import EmbedConfig, chosen_backbone
from affectkit.stages.fit_stage import FitStage
from affectkit.stages.fuse import FUSER_FILES
from affectkit.stages.fused_system import (
    RECORD_FILE,
    System,
    SystemInputs,
    SystemMember,
    SystemRecord,
    digest_of,
    fused_clip,
    member_folder,
    restored,
)
from affectkit.stages.map_stage import MapStage
from affectkit.stages.model_card import CardText
from affectkit.stages.trained import lineage, trained_report
from affectkit.store import Artifact, StageRecord, open_artifact
from affectkit.store.bundle_file import (
    FORMAT,
    SUFFIX,
    BundleManifest,
    BundleWeights,
    write_bundle_file,
)
from affectkit.store.kinds import MAKES, STAGE_FILE

_KEPT = (
    "affectkit", "git", "python", "packages", "created", "config", "features", "columns", "weights", "device",
)  # fmt: skip
"""What is kept of a model's provenance: nothing of the machine and its folders."""
_HOLDS = {"train-head": "head", "finetune": "network", "fuse": "system", bundled.SYSTEM: "system"}
_CHECKED = 50
"""Clips on which a fusion is compared with what its parts give."""
_CLOSE = 1e-6


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle that was made: its file, what it says of itself, and what its maker must know."""

    path: Path
    manifest: BundleManifest
    notices: tuple[str, ...] = ()


@dataclass
class _Content:
    """The members of a bundle under way, the weights that its recipes need, and notices."""

    members: dict[str, bytes | Path] = field(default_factory=dict)
    weights: list[BundleWeights] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def is_bundled(artifact: Artifact) -> bool:
    """Whether a bundle can be made of what made an artifact."""
    return artifact.stage.stage in _HOLDS


def default_file(artifact: Artifact) -> Path:
    """What a bundle is called where no name is given."""
    return Path(f"{artifact.folder.name}{SUFFIX}")


def write_bundle(
    artifact: Artifact, out: Path, *, card: Path | None = None, scores: Artifact | None = None
) -> WrittenBundle:
    """Write the bundle of a head, a network or a fusion, or of what was opened from one, with another card.

    card: a card that a person edited; scores: what `evaluate` made of its predictions, for a card that is written here.
    Raises UsageError for what cannot be in a bundle, and says what to do.
    """
    require_model(artifact)
    if card is not None and scores is not None:
        raise UsageError("--card and --scores both say the scores: write them into the card, or leave it out")
    content, made_of = _Content(), artifact.stage.fingerprint
    if (folder := bundled.folder_of(artifact)) is not None:
        if artifact.folder != folder:
            raise UsageError(f"{artifact.path} is a part of a fused system: give the system, {folder}")
        manifest = bundled.manifest_of(folder)
        content.members = {name: folder / name for name in manifest.members}
        content.weights, made_of = list(manifest.weights), manifest.fingerprint
    elif artifact.stage.stage == "fuse":
        _add_system(content, artifact, "")
    else:
        _add_trained(content, artifact, "")
    text = _card(artifact, card, scores)
    content.members[bundled.CARD_FILE] = model_card.toml_of(text).encode()
    manifest = BundleManifest(
        format=FORMAT, affectkit=__version__, holds=_HOLDS[artifact.stage.stage], name=text.name,
        task=model_card.task_of(artifact).name, fingerprint=made_of, weights=content.weights,
        members={},
    )  # fmt: skip
    write_bundle_file(out, manifest, content.members)
    return WrittenBundle(out, manifest, tuple(dict.fromkeys(content.notices)))


def write_card(artifact: Artifact, out: Path, scores: Artifact | None = None) -> Path:
    """Write a model's card: as it is edited (.toml), else as a page for people (Markdown)."""
    from affectkit.store.atomic import explained, write_text

    require_model(artifact)
    text = _card(artifact, None, scores)
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, model_card.toml_of(text) if out.suffix == ".toml" else model_card.markdown_of(artifact, text))
    return out


def require_model(artifact: Artifact) -> None:
    """Raises UsageError for what no bundle is made of."""
    stage = artifact.stage.stage
    if stage in _HOLDS:
        return
    noun, command = MAKES.get(stage, ("something else", stage))
    raise UsageError(
        f"{artifact.path} holds {noun}, made by {command}: a bundle is made of a head, a fine-tuned network or a "
        "fusion of their predictions; give what train-head, finetune or fuse printed"
    )


def _card(artifact: Artifact, card: Path | None, scores: Artifact | None) -> CardText:
    if card is not None:
        return model_card.read_card(card)
    said = "" if scores is None else model_card.scores_said(artifact, scores)
    if bundled.folder_of(artifact) is None:
        return model_card.written(artifact, said)
    text = model_card.text_of(artifact)
    return text.model_copy(update={"reported": said}) if said else text


def _add_trained(content: _Content, artifact: Artifact, prefix: str) -> None:
    """The files of a head or a network, its recipe, and the weights that this names by path."""
    trained_report(artifact)
    for problem in problems_of(artifact.stage, weights=False):
        raise UsageError(f"{artifact.path} cannot be bundled: {problem}")
    for path in bundled.files_in(artifact.folder):
        name = path.relative_to(artifact.folder).as_posix()
        if name in bundled.NOT_LEARNT or name.startswith(f"{bundled.WEIGHTS}/"):
            continue
        if not name.endswith(CONTENT):
            raise UsageError(f"{artifact.path} cannot be bundled: it holds {name}; accepted are {', '.join(CONTENT)}")
        content.members[prefix + name] = path
    if artifact.stage.stage == "finetune":
        report = bundled.portable_report(artifact.folder / bundled.FINETUNE_FILE)
        content.members[prefix + bundled.FINETUNE_FILE] = json.dumps(report, indent=1, ensure_ascii=False).encode()
        network = saved.weights_of(artifact.folder)
        content.weights.append(BundleWeights(
            step=f"finetune {artifact.stage.name}", name=network.name, sha256=network.sha256, licence=network.licence,
            source="the network itself", member=f"{prefix}network.safetensors",
        ))  # fmt: skip
    told = {about["sha256"]: about for about in model_card.weights_of(artifact)}

    def portable(recipe: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [_portable_step(content, artifact, step, told) for step in recipe]

    recipes = [portable(recipe) for recipe in artifact.stage.provenance["features"]]
    provenance = _portable(artifact) | {"features": recipes}
    if (gates := artifact.stage.provenance.get("quality_gates")) is not None:
        provenance["quality_gates"] = {**gates, "folder": "", "features": portable(gates["features"])}
        recipes = [*recipes, provenance["quality_gates"]["features"]]
    record = artifact.stage.model_copy(update={"upstream": [], "provenance": provenance})
    content.members[prefix + STAGE_FILE] = (record.model_dump_json(indent=1) + "\n").encode()
    for reason in _unreplayed(recipes):
        content.notices.append(f"{artifact.path} predicts features alone, no media: {reason}")


def _portable(artifact: Artifact) -> dict[str, Any]:
    """A model's provenance without whatever tells of the machine it was made on."""
    provenance = {key: value for key, value in artifact.stage.provenance.items() if key in _KEPT}
    if isinstance(about := provenance.get("weights"), dict):
        provenance["weights"] = {**about, "path": None}
    return provenance


def _portable_step(
    content: _Content, artifact: Artifact, step: Mapping[str, Any], told: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """A step whose weights are named, or lie in the bundle."""
    plugin = step["inputs"].get("backbone") or step["inputs"].get("detector")
    digest = step["inputs"].get("weights")
    if not isinstance(plugin, dict) or not isinstance(digest, str):
        return dict(step)
    about, said = told.get(digest, {}), f"{step['stage']} {plugin['name']}"
    needed = BundleWeights(
        step=said, name=str(about.get("name", plugin["name"])), sha256=digest,
        licence=str(about.get("licence", "unknown")), source=str(about.get("source", "by name")),
    )  # fmt: skip
    choice = step["config"].get("weights", "auto")
    if choice in ("auto", "random"):
        if needed not in content.weights:
            content.weights.append(needed)
        return dict(step)
    path = Path(bundled.with_weights(artifact, step["config"])["weights"]).expanduser()
    member = _add_weights(content, step, path, digest, said)
    needed = needed.model_copy(update={"member": f"{bundled.WEIGHTS}/{member}", "source": f"file {path.name}"})
    if needed not in content.weights:
        content.weights.append(needed)
        if "unknown" in needed.licence:
            content.notices.append(
                f"{path.name} goes into the bundle, and its licence is not known: say it in the card"
            )
    return {**step, "config": {**step["config"], "weights": f"{bundled.MARK}{member}"}}


def _add_weights(content: _Content, step: Mapping[str, Any], path: Path, digest: str, said: str) -> str:
    """Put a file of weights, or the folder of a model, into the bundle; returns its name there. Raises UsageError."""
    advice = "put the file back that it was made with, or make the features again"
    if not path.exists():
        raise UsageError(f"the weights of {said}, {path}, are not there any more: {advice}")
    name = f"{digest[:12]}-{_plain(path.name)}"
    if path.is_file():
        if path.suffix.lower() not in WEIGHTS:
            raise UsageError(
                f"the weights of {said}, {path.name}, cannot be bundled: accepted are files {', '.join(WEIGHTS)}"
            )
        digest_now, files = sha256_file(path), {name: path}
    else:
        digest_now = _digest_of_model(step, path)
        names = (saved.FILES.header, saved.FILES.tensors) if saved.is_finetuned(path) else ()
        files = {
            f"{name}/{file.name}": file
            for file in sorted(path.iterdir())
            if (file.name in names if names else file.suffix in (".json", ".safetensors") and file.is_file())
        }
    if digest_now != digest:
        raise UsageError(f"the weights of {said}, {path}, are not those that it was made with: {advice}")
    content.members |= {f"{bundled.WEIGHTS}/{key}": file for key, file in files.items()}
    return name


def _digest_of_model(step: Mapping[str, Any], path: Path) -> str:
    """The digest of a model of several files, as its step has it."""
    if saved.is_finetuned(path):
        return saved.weights_of(path).sha256
    config = validate(EmbedConfig, {**step["config"], "weights": str(path)}, "the config of an embed step")
    name, plugin, options, config = chosen_backbone(config)
    return plugins.weights("backbones", name, plugin, options, config.weights).sha256


def _unreplayed(recipes: list[list[dict[str, Any]]]) -> Iterator[str]:
    """Why a model cannot predict from media."""
    for recipe in recipes:
        for step in recipe:
            stage = catalogue.maker(step["stage"])
            assert isinstance(stage, MapStage)
            try:
                stage.replayed(step["config"], step)
            except UsageError as error:
                yield str(error).partition(":")[0]


def _add_system(content: _Content, artifact: Artifact, prefix: str) -> None:
    """A fusion: its models, each in a folder, and what its fuser learnt."""
    if "code" in artifact.stage.inputs["fuser"]:
        raise UsageError(f"{artifact.path} cannot be bundled: its fuser is code of one's own: publish it as a package")
    stage = catalogue.get("fuse")
    assert isinstance(stage, FitStage)
    report, said = stage.report_of(artifact), artifact.stage.inputs
    sets = _sets(artifact)
    members = [_add_member(content, each, f"{prefix}{member_folder(place)}/") for place, each in enumerate(sets)]
    task, config = model_card.task_of(artifact), said["config"]
    has_arrays = (artifact.folder / FUSER_FILES.tensors).is_file()
    arrays = FUSER_FILES.read_tensors(artifact.folder) if has_arrays else {}
    tensors = (artifact.folder / FUSER_FILES.tensors).read_bytes() if has_arrays else b""
    try:
        fuser, columns = restored(task, said["fuser"], config["gate"], report["fuser"], arrays, str(artifact.path))
    except HostileFile:
        raise UsageError(
            f"{artifact.path} does not hold what its fuser learnt (an earlier affectkit fused it): remove it, and "
            "repeat the command that made it"
        ) from None
    inputs = SystemInputs(
        task=task, fuser=said["fuser"], gate=config["gate"], rate=config["rate"],
        learnt=digest_of(report["fuser"], tensors), members=members,
    )  # fmt: skip
    record = SystemRecord(state=report["fuser"], splits=model_card.splits_of(artifact))
    _check_same(artifact, System(artifact, inputs, record, fuser, columns, ()), sets)
    dumped = inputs.model_dump(mode="json")
    recipes = [
        json.loads(bytes(content.members[f"{prefix}{member_folder(place)}/{STAGE_FILE}"]))["provenance"]
        for place in range(len(members))
    ]  # fmt: skip
    record_of_system = StageRecord(
        stage=bundled.SYSTEM, name=artifact.stage.name, fingerprint=fingerprint(dumped), inputs=dumped,
        provenance=_portable(artifact) | {
            "features": [recipe for each in recipes for recipe in each["features"]],
            "columns": [column for each in recipes for column in each["columns"]],
        },
    )  # fmt: skip
    content.members[prefix + STAGE_FILE] = (record_of_system.model_dump_json(indent=1) + "\n").encode()
    content.members[prefix + RECORD_FILE] = (record.model_dump_json(indent=1) + "\n").encode()
    if has_arrays:
        content.members[prefix + FUSER_FILES.tensors] = artifact.folder / FUSER_FILES.tensors


def _sets(artifact: Artifact) -> list[Artifact]:
    """The predictions that were fused. Raises UsageError where they are not there, or were made elsewhere."""
    paths, wanted = artifact.stage.upstream, artifact.stage.inputs["predictions"]
    if tables := len(wanted) - len(paths):
        raise UsageError(
            f"{artifact.path} cannot be bundled: {tables} of what it fuses are tables made elsewhere, "
            "and nothing is known of their models"
        )
    try:
        return [open_artifact(path) for path in paths]
    except UsageError as error:
        raise UsageError(f"{artifact.path} cannot be bundled: what it fuses is not there any more ({error})") from None


def _add_member(content: _Content, scores: Artifact, prefix: str) -> SystemMember:
    """The model behind some predictions, and how it predicted them."""
    stage, inputs = scores.stage.stage, scores.stage.inputs
    if stage == "fuse":
        _add_system(content, scores, prefix)
        nested = json.loads(bytes(content.members[prefix + STAGE_FILE]))
        return SystemMember(fingerprint=nested["fingerprint"])
    if stage == "predict" and "card" in scores.stage.provenance:
        return _add_published(content, scores, prefix)
    wanted = inputs.get("head") or inputs.get("network")
    if stage != "predict" or not isinstance(wanted, str):
        kind = {"cross-validate": "of a head for each fold"}.get(stage, "of no head or network of one's own")
        raise UsageError(
            f"{scores.path} cannot be in a bundle: its scores are {kind}; predict by one head, and fuse that"
        )
    _require_no_table(scores)
    try:
        model = next(each for each in map(open_artifact, scores.stage.upstream) if each.stage.fingerprint == wanted)
    except (UsageError, StopIteration):
        raise UsageError(f"the model that predicted {scores.path} is not there any more: train it again") from None
    _add_trained(content, model, prefix)
    return SystemMember(fingerprint=wanted, predict=_asked(scores))


def _add_published(content: _Content, scores: Artifact, prefix: str) -> SystemMember:
    """A published model: its name and recipe; its weights are fetched where the bundle is used, or lie in it."""
    _require_no_table(scores)
    (path,) = scores.stage.upstream
    features = open_artifact(path)
    recipe, told = lineage(features), {about["sha256"]: about for about in model_card.weights_of(features)}
    inputs = {"stage": bundled.PUBLISHED, "version": 1, "upstream": [features.stage.fingerprint]}
    recipes = [[_portable_step(content, features, step, told) for step in recipe]]
    record = StageRecord(
        stage=bundled.PUBLISHED, name=features.stage.name, fingerprint=fingerprint(inputs), inputs=inputs,
        provenance=_portable(features) | {"features": recipes, "columns": ["values"]},
    )  # fmt: skip
    problem = next(problems_of(record, weights=False), None)
    if problem is not None:
        raise UsageError(f"{scores.path} cannot be in a bundle: {problem}")
    content.members[prefix + STAGE_FILE] = (record.model_dump_json(indent=1) + "\n").encode()
    return SystemMember(fingerprint=record.fingerprint, predict=_asked(scores))


def _asked(scores: Artifact) -> dict[str, Any]:
    """How some predictions were made, as far as anything was asked for."""
    config = scores.stage.provenance.get("config") or {}
    return {key: value for key, value in config.items() if value is not None}


def _require_no_table(scores: Artifact) -> None:
    rows = scores.stage.inputs.get("rows")
    if isinstance(rows, dict) and rows.get("table"):
        raise UsageError(
            f"{scores.path} has the rows of a table (--at), which new media have not: predict without it (fuse reads "
            "scores between rows), and fuse again"
        )


def _check_same(artifact: Artifact, system: System, sets: list[Artifact]) -> None:
    """Raises UsageError where the parts together do not give what the fusion holds."""
    clips = artifact.clips
    for clip in clips[:: max(1, len(clips) // _CHECKED)]:
        fused = fused_clip(system, sets, clip)
        held = np.asarray(artifact.column(clip, "scores"))
        if not np.allclose(np.asarray(fused.scores, np.float32), held, rtol=0, atol=_CLOSE, equal_nan=True):
            raise UsageError(
                f"{artifact.path} cannot be bundled: what its models predicted has changed since (clip {clip}): fuse "
                "again"
            )


def _plain(name: str) -> str:
    """A file's name as a member may have it."""
    text = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[-80:]
    return text.lstrip(".-") or "weights"
