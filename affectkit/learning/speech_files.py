"""The files of a speech model, in a folder or in a repository of the Hugging Face hub, and what they say of it.

A model is `config.json` (which network), `preprocessor_config.json` (what it hears; may be absent) and its weights. No
code of a repository is ever run: a config picks one of four architectures by `model_type`, and sets its sizes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from affectkit import weights as weight_files
from affectkit.config import explain
from affectkit.errors import UsageError
from affectkit.types import Floats
from affectkit.untrusted import read_object
from affectkit.weights import WeightsFile

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
SAFETENSORS, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
MAX_JSON = 16 << 20
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_SHARD = re.compile(r"[A-Za-z0-9][\w.-]*\.safetensors")
M = TypeVar("M", bound=BaseModel)
Width = Annotated[int, Field(ge=1, le=1 << 15)]
Convolutions = Annotated[list[Width], Field(min_length=1, max_length=32)]


class SpeechArchitecture(BaseModel):
    """The sizes in `config.json` that are needed here or bounded here; the defaults are those of transformers."""

    model_config = ConfigDict(frozen=True, extra="allow")
    model_type: Literal["wav2vec2", "hubert", "wavlm", "data2vec-audio"]
    hidden_size: Width = 768
    num_hidden_layers: Annotated[int, Field(ge=1, le=256)] = 12
    num_attention_heads: Width = 12
    intermediate_size: Width = 3072
    num_conv_pos_embeddings: Width = 128
    conv_dim: Convolutions = [512] * 7
    conv_kernel: Convolutions = [10, 3, 3, 3, 3, 2, 2]
    conv_stride: Convolutions = [5, 2, 2, 2, 2, 2, 2]

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        hop = 1
        for stride in self.conv_stride:
            hop *= stride
        return hop

    @property
    def receptive_field(self) -> int:
        """Samples that the convolutions see for one frame."""
        field, hop = 1, 1
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            field, hop = field + (kernel - 1) * hop, hop * stride
        return field

    def frames(self, samples: int) -> int:
        """Frames that the convolutions, which do not pad, give for a window.

        >>> SpeechArchitecture(model_type="wav2vec2").frames(16_000)
        49
        """
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def rows(self, samples: int, sampling_rate: int, *, pooled: bool) -> tuple[Floats, Floats]:
        """start, end [F] (s) of a window's rows: one for all of it (`pooled`), or what the convolutions see for each
        frame, overlapping a little. None where the window is too short for a frame."""
        count = self.frames(samples)
        if pooled:
            return np.zeros(min(count, 1)), np.full(min(count, 1), samples / sampling_rate)
        start = np.arange(count) * self.hop
        return start / sampling_rate, (start + self.receptive_field) / sampling_rate


class Hearing(BaseModel):
    """What `preprocessor_config.json` says of the waveform; the defaults are those of transformers' class."""

    model_config = ConfigDict(frozen=True)
    feature_extractor_type: Literal["Wav2Vec2FeatureExtractor", "Wav2Vec2Processor"] | None = None
    feature_size: Literal[1] = 1
    sampling_rate: int = Field(16_000, ge=1000, le=192_000)
    do_normalize: bool = True


class Place(Protocol):
    """Where the files of one model are."""

    name: str
    hub_id: str | None

    def first(self, *filenames: str) -> Path | None:
        """The first of these files that is there. Raises UsageError where that cannot be known."""

    @property
    def source(self) -> str: ...


class Folder:
    """A folder of the user's own."""

    hub_id: str | None = None

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            kind = "a file" if path.exists() else "not there"
            raise UsageError(f"{path} is {kind}: give the folder that holds {CONFIG} and {SAFETENSORS}")
        self.path = path
        self.name = path.resolve().name
        self.source = f"path {path}"

    def first(self, *filenames: str) -> Path | None:
        return next((self.path / name for name in filenames if (self.path / name).exists()), None)


class Repository:
    """A repository of the hub; every file is of the commit that the first one was found in."""

    def __init__(self, hub_id: str, revision: str | None) -> None:
        self.name = hub_id
        self.hub_id: str | None = hub_id
        self._revision = revision

    @property
    def source(self) -> str:
        return f"huggingface.co/{self.name}@{self._revision}"

    def first(self, *filenames: str) -> Path | None:
        for fetch in (False, True):  # what the cache holds serves without a network
            for name in filenames:
                path = weight_files.hub_file(self.name, name, self._revision, fetch=fetch)
                if path is not None:
                    self._revision = path.parent.name  # .../snapshots/<commit>/<filename>
                    return path
        return None


def place(model: str, revision: str | None, choice: str) -> Place:
    """The folder or repository that `model` means, or the folder that `choice` names. Raises UsageError."""
    by_path = choice not in ("auto", "random")
    given = choice if by_path else model
    path = Path(given).expanduser()
    if by_path or given.startswith(("/", ".", "~")) or path.is_dir():
        if revision:
            raise UsageError(f"revision={revision}: {given} is a folder, which has no revisions")
        return Folder(path)
    if not _REPOSITORY.fullmatch(given) or ".." in given or "--" in given:
        raise UsageError(
            f"model={given}: neither a folder nor the name of a hub repository (facebook/wav2vec2-base-960h)"
        )
    return Repository(given, revision)


def config_file(where: Place) -> Path:
    """Where the config lies. Raises UsageError."""
    return _needed(where, CONFIG)


def safetensors(where: Place) -> list[Path]:
    """The model's weights: one file, or an index and its shards. Raises UsageError where there are none."""
    found = where.first(SAFETENSORS, INDEX)
    if found is None:
        raise UsageError(_without_safetensors(where))
    if found.name == SAFETENSORS:
        return [found]
    return [found, *(_needed(where, name) for name in shards(found))]


def shards(index: Path) -> list[str]:
    """The names of an index's files, sorted. Raises UsageError for anything but names in its own folder."""
    table = read_json(index).get("weight_map")
    names = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    if not names or not all(_SHARD.fullmatch(name) for name in names):
        raise UsageError(f"{index} is no index of safetensors: its weight_map must name files beside it")
    return names


def resolved(where: Place, weights: list[Path], *, preprocessor: bool = True) -> WeightsFile:
    """Config, preprocessor's config (where there is one) and weights as one choice. No weights: random ones."""
    config = config_file(where)
    heard = where.first(PREPROCESSOR) if preprocessor else None
    files = [config, *filter(None, [heard]), *weights]
    file = weight_files.several(where.name, files, where.source, where.hub_id)
    if weights:
        return file
    about = f"random initialisation of {where.source}"
    return WeightsFile(where.name, file.path, f"random-{file.sha256}", "none", about)


def is_random(weights: WeightsFile) -> bool:
    """Whether random weights were asked for."""
    return weights.sha256.startswith("random")


def architecture(path: Path) -> tuple[SpeechArchitecture, dict[str, Any]]:
    """A config file, and all that it says. Raises UsageError for models of other kinds and for code of its own."""
    given = read_json(path)
    return described(given, path), given


def described(given: dict[str, Any], path: Path) -> SpeechArchitecture:
    """What a config says, of the file `path`. Raises UsageError, as `architecture`."""
    if "auto_map" in given:
        raise UsageError(f"{path} wants code of its repository to be run (auto_map), which affectkit never does")
    parsed = validated(SpeechArchitecture, given, path)
    if not len(parsed.conv_dim) == len(parsed.conv_kernel) == len(parsed.conv_stride):
        raise UsageError(f"{path}: conv_dim, conv_kernel and conv_stride differ in length")
    return parsed


def hearing(path: Path) -> Hearing:
    """A preprocessor's config; the defaults where there is none. Raises UsageError."""
    return validated(Hearing, read_json(path), path) if path.exists() else Hearing()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object out of a file. Raises UsageError."""
    return read_object(path, "a config", MAX_JSON, inside=False)


def validated(model: type[M], given: dict[str, Any], path: Path) -> M:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)}") from None


def _needed(where: Place, filename: str) -> Path:
    path = where.first(filename)
    if path is None:
        raise UsageError(f"{where.name} ({where.source}) has no {filename}")
    return path


def _without_safetensors(where: Place) -> str:
    told = f"{where.name} ({where.source}) has no {SAFETENSORS}"
    if where.first(PICKLED) is None:
        return told
    return (
        f"{told}, only {PICKLED}, which is not read: convert it in Python with "
        f"from transformers import AutoModel, AutoFeatureExtractor; AutoModel.from_pretrained('{where.name}')"
        f".save_pretrained('DIR'); AutoFeatureExtractor.from_pretrained('{where.name}').save_pretrained('DIR')"
        " and give model=DIR"
    )
