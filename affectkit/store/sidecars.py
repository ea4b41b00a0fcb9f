"""The small text files beside the data: stage.json, failures.jsonl, clips.json. They are untrusted, like the data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from affectkit.config import Config, explain, fingerprint
from affectkit.errors import HostileFile, MissingFile, UsageError
from affectkit.store.atomic import write_text
from affectkit.store.kinds import STAGE_FILE, no_artifact
from affectkit.store.schema import Schema
from affectkit.untrusted import parsed_json, read_object, read_text

FORMAT = 1
_LARGEST_STAGE = 1 << 24
_LARGEST_LIST = 1 << 28
UNREADABLE = "unreadable"
"""The source digest of a clip whose media cannot be read."""


class StageRecord(Config):
    """What `stage.json` says: the fingerprint's inputs, the schema, and how it was made."""

    format: int = FORMAT
    stage: str
    name: str
    fingerprint: str
    inputs: dict[str, Any]
    table: Schema | None = None
    numerics: dict[str, Any] = {}
    upstream: list[str] = []
    provenance: dict[str, Any] = {}


@dataclass(frozen=True)
class Failure:
    """A clip that could not be processed, by the digest of what it was."""

    clip: str
    source_sha256: str
    cause: str
    time: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Its id, and the digest of what it was."""
        return self.clip, self.source_sha256


def read_stage(path: Path) -> StageRecord:
    """The stage file of an artifact's folder. Raises UsageError when there is none, HostileFile for a forged one."""
    file = path / STAGE_FILE
    try:
        text = read_text(file, "a stage file", _LARGEST_STAGE, inside=True)
    except UsageError:
        raise no_artifact(path) from None
    try:
        stage = StageRecord.model_validate(parsed_json(text))
        derived = fingerprint(stage.inputs)
    except ValidationError as error:
        raise HostileFile(f"{file} is not a stage file: {explain(error)[:500]}") from None
    except ValueError as error:
        raise HostileFile(f"{file} is not a stage file: {error}") from None
    if stage.format != FORMAT:
        raise UsageError(f"{path} has cache format {stage.format}; this affectkit reads {FORMAT}")
    if derived != stage.fingerprint:
        raise HostileFile(f"{file}: the fingerprint does not follow from its inputs (edited by hand?)")
    return stage


def read_failures(path: Path) -> dict[tuple[str, str], Failure]:
    """The failures listed in an artifact's folder, by clip id and source digest."""
    file = path / "failures.jsonl"
    try:
        text = read_text(file, "a list of failures", _LARGEST_LIST, inside=True)
        lines = [parsed_json(line) for line in text.split("\n") if line]
    except MissingFile:
        return {}
    except ValueError as error:
        raise HostileFile(f"{file} is not JSON: {error}") from None
    fields = Failure.__dataclass_fields__.keys()
    for line in lines:
        is_text = isinstance(line, dict) and all(isinstance(value, str) for value in line.values())
        if not is_text or line.keys() != fields:
            raise HostileFile(f"{file}: a line is not a failure of a clip")
    return {failure.key: failure for failure in (Failure(**line) for line in lines)}


def write_failures(path: Path, failures: dict[tuple[str, str], Failure]) -> None:
    """List failures, sorted by clip."""
    lines = (json.dumps(asdict(failures[key]), ensure_ascii=False) + "\n" for key in sorted(failures))
    write_text(path / "failures.jsonl", "".join(lines))


def read_clip_table(path: Path) -> dict[str, dict[str, Any]]:
    """What clips.json in an artifact's folder says of each clip: artifacts from before selections have it."""
    file = path / "clips.json"
    try:
        table = read_object(file, "a table of clips", _LARGEST_LIST)
    except MissingFile:
        return {}
    if not all(isinstance(entry, dict) for entry in table.values()):
        raise HostileFile(f"{file} is not a table of clips")
    return table
