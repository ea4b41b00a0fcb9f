"""Where the figures of a report come from: recipes, versions, weights and their licences, cards, splits, cautions."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affectkit.errors import AffectkitError
from affectkit.plugins import CAUTION
from affectkit.stages import catalogue
from affectkit.stages.fit_stage import FitStage
from affectkit.stages.report_clips import ClipLine
from affectkit.stages.report_sources import Sources
from affectkit.store import Artifact

_LONGEST = 2000
"""Characters of a setting that are shown."""
_CARD = ("summary", "trained_on", "reported", "verified", "failures", "intended")


def provenance_of(sources: Sources, lines: Sequence[ClipLine], command: str) -> dict[str, Any]:
    """For the template."""
    artifacts = list(sources.artifacts.values())
    return {
        "command": command, "caution": CAUTION, "cautions": list(cautions_of(sources)),
        "records": [{"notes": [], "title": "", **record} for record in sources.records],
        "artifacts": [_artifact(each) for each in artifacts], "weights": list(_weights(artifacts)),
        "cards": list(_cards(artifacts)), "splits": _splits(lines), "versions": _versions(artifacts),
        "notices": list(dict.fromkeys(sources.notices)),
    }  # fmt: skip


def cautions_of(sources: Sources) -> Iterator[str]:
    """What stages say against their own results, each line once."""
    lines: dict[str, None] = {}
    for scoring in sources.scorings:
        lines |= dict.fromkeys(scoring.report["cautions"])
    for artifact in sources.artifacts.values():
        for line in _cautions(artifact):
            lines[f"{artifact.stage.stage} {artifact.stage.name}: {line}"] = None
    yield from map(str, lines)


def _cautions(artifact: Artifact) -> list[str]:
    """Those that a fitted artifact's own report holds."""
    try:
        stage = catalogue.maker(artifact.stage.stage)
        if not isinstance(stage, FitStage) or artifact.stage.stage in ("evaluate", "compare"):
            return []
        cautions = stage.report_of(artifact).get("cautions", [])
    except (AffectkitError, KeyError):
        return []
    return [str(line) for line in cautions] if isinstance(cautions, list) else []


def _artifact(artifact: Artifact) -> dict[str, Any]:
    stage = artifact.stage
    said = stage.provenance
    command = said.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    config = said.get("config")
    settings = config if isinstance(config, dict) else {}
    return {
        "stage": stage.stage, "name": stage.name, "fingerprint": stage.fingerprint, "path": str(artifact.path),
        "created": str(said.get("created", "")), "affectkit": str(said.get("affectkit", "")),
        "command": " ".join(["affectkit", *map(shlex.quote, words[1:])]) if words else "",
        "settings": [(str(key), _text(value)) for key, value in settings.items() if value not in (None, [], {})],
        "recipe": _text(stage.inputs, 20_000),
    }  # fmt: skip


def _text(value: Any, longest: int = _LONGEST) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest} more characters)"


def _weights(artifacts: Sequence[Artifact]) -> Iterator[dict[str, str]]:
    """Each file once."""
    listed: set[str] = set()
    for artifact in artifacts:
        about = artifact.stage.provenance.get("weights")
        if isinstance(about, dict) and (key := f"{about.get('name')} {about.get('sha256')}") not in listed:
            listed.add(key)
            yield {name: _text(about.get(name) or "") for name in ("name", "licence", "sha256", "source")}


def _cards(artifacts: Sequence[Artifact]) -> Iterator[dict[str, Any]]:
    """Each model's card once."""
    listed: set[str] = set()
    for artifact in artifacts:
        card = artifact.stage.provenance.get("card")
        if not isinstance(card, dict) or (text := _text(card)) in listed:
            continue
        listed.add(text)
        licences = card.get("licences")
        facts = [(key.replace("_", " "), _text(card[key])) for key in _CARD if card.get(key)]
        if isinstance(licences, dict):
            facts += [(f"licence of its {what}", _text(licence)) for what, licence in licences.items()]
        if isinstance(contract := card.get("contract"), dict):
            said = [f"{key} {value}" for key, value in contract.items() if value not in ("", None)]
            facts.append(("crop", ", ".join(said)))
        yield {"name": _text(card.get("name") or artifact.stage.name), "facts": facts}


def _splits(lines: Sequence[ClipLine]) -> list[tuple[str, int]]:
    counts = Counter(line.split for line in lines)
    return sorted(counts.items()) if set(counts) - {""} else []


def _versions(artifacts: Sequence[Artifact]) -> list[tuple[str, str]]:
    """Every version that an artifact was made with; several of one package are told apart."""
    versions: dict[str, dict[str, None]] = {}
    for artifact in artifacts:
        said: Mapping[str, Any] = artifact.stage.provenance
        packages = said.get("packages")
        told = {"affectkit": said.get("affectkit"), "git": said.get("git"), "python": said.get("python"),
                **(packages if isinstance(packages, dict) else {})}  # fmt: skip
        for name, version in told.items():
            if version:
                versions.setdefault(str(name), {})[str(version)] = None
    return [(name, ", ".join(several)) for name, several in versions.items()]
