"""The small text files beside the data: stage.json, failures.jsonl, clips.json. They are untrusted, like the data."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from affectkit.config import Config, explain, fingerprint
from affectkit.errors import HostileFile, UsageError
from affectkit.store.atomic import write_text
from affectkit.store.schema import Schema

STAGE_FILE = "stage.json"
FORMAT = 1
_LARGEST_JSON = 1 << 28


class Stage(Config):
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


def read_stage(path: Path) -> Stage:
    """The stage file of an artifact's folder. Raises UsageError when there is none, HostileFile for a forged one."""
    file = path / STAGE_FILE
    try:
        text = _read_text(file)
    except OSError:
        text = None
    if text is None:
        raise UsageError(f"{path} is not an artifact: give a folder that an affectkit command printed")
    try:
        stage = Stage.model_validate_json(text)
        derived = fingerprint(stage.inputs)
    except ValidationError as error:
        raise HostileFile(f"{file} is not a stage file: {explain(error)[:500]}") from None
    except ValueError as error:
        raise HostileFile(f"{file}: its inputs are not plain JSON ({error})") from None
    if stage.format != FORMAT:
        raise UsageError(f"{path} has cache format {stage.format}; this affectkit reads {FORMAT}")
    if derived != stage.fingerprint:
        raise HostileFile(f"{file}: the fingerprint does not follow from its inputs (edited by hand?)")
    return stage


def read_failures(path: Path) -> dict[str, Failure]:
    """The failures listed in an artifact's folder, by clip."""
    file = path / "failures.jsonl"
    lines = [_parsed(file, line) for line in (_read_text(file) or "").split("\n") if line]
    fields = Failure.__dataclass_fields__.keys()
    for line in lines:
        is_text = isinstance(line, dict) and all(isinstance(value, str) for value in line.values())
        if not is_text or line.keys() != fields:
            raise HostileFile(f"{file}: a line is not a failure of a clip")
    return {line["clip"]: Failure(**line) for line in lines}


def write_failures(path: Path, failures: dict[str, Failure]) -> None:
    """List failures, sorted by clip."""
    lines = (json.dumps(asdict(failures[clip]), ensure_ascii=False) + "\n" for clip in sorted(failures))
    write_text(path / "failures.jsonl", "".join(lines))


def read_clip_table(path: Path) -> dict[str, dict[str, Any]]:
    """What clips.json in an artifact's folder says of each clip."""
    file = path / "clips.json"
    table = _parsed(file, _read_text(file) or "{}")
    if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
        raise HostileFile(f"{file} is not a table of clips")
    return table


def write_clip_table(path: Path, table: dict[str, dict[str, Any]]) -> None:
    """Write clips.json."""
    write_text(path / "clips.json", json.dumps(table, ensure_ascii=False, indent=0, sort_keys=True))


def _read_text(path: Path) -> str | None:
    """The text of a regular file of bounded size; None when there is none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_JSON:
            raise HostileFile(f"{path} is not a text file of {_LARGEST_JSON} bytes at most")
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        raise HostileFile(f"{path} is not UTF-8") from None


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise HostileFile(f"{path} is not JSON") from None
