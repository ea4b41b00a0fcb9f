"""What a timm model name stands for: its tag and the file of its weights, remembered so as not to import timm.

timm takes seconds to import, and every cache hit must know the weights' digest. The answers are kept in a small JSON
file of the user's cache, one for each version of timm; losing it costs one import.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

from affectkit import weights
from affectkit.errors import UsageError
from affectkit.plugins import names

LITE0 = "efficientnet-lite0"
"""A model of timm whose weights come as a package: it goes by the name of its own plugin."""
LITE0_SIDE = 224  # pixels


@dataclass(frozen=True)
class Pinned:
    """A name with its tag, the hub repository and file of its weights ("" where none are published), their licence."""

    name: str
    hub_id: str
    filename: str
    licence: str


def resolve(model: str) -> Pinned:
    """What the installed timm means by `model`. Raises UsageError with the nearest names."""
    memo = weights.user_dir() / f"timm-{version('timm')}.json"
    known = _read(memo)
    if model not in known:
        known[model] = _ask(model)
        _write(memo, known)
    return known[model]


def _ask(model: str) -> Pinned:
    import timm

    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        raise UsageError(f"unknown backbone '{model}': no plugin and no timm model{_nearest(model)}")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise UsageError(f"unknown timm model '{model}': the tags of {architecture} are {', '.join(tags) or 'none'}")
    config = timm.get_pretrained_cfg(model)
    assert config is not None  # every registered architecture has one
    name = f"{architecture}.{config.tag}" if config.tag else architecture
    filename = config.hf_hub_filename or "model.safetensors"
    return Pinned(name, config.hf_hub_id or "", filename, config.license or "")


def _nearest(model: str) -> str:
    import timm

    known = [*names("backbones"), *timm.list_models(), *timm.list_pretrained()]
    near = get_close_matches(model, known, n=3, cutoff=0.7)
    return f": did you mean {', '.join(near)}?" if near else ""


def _read(memo: Path) -> dict[str, Pinned]:
    try:
        rows = json.loads(memo.read_text("utf-8"))
        return {
            str(name): Pinned(*(str(row[key]) for key in Pinned.__dataclass_fields__)) for name, row in rows.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent or damaged: ask timm again
        return {}


def _write(memo: Path, known: dict[str, Pinned]) -> None:
    part = memo.with_name(f".{memo.name}.{os.getpid()}.part")
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({name: asdict(pinned) for name, pinned in known.items()}, indent=1), "utf-8")
        part.replace(memo)
    except OSError:  # no cache folder to write to: timm is asked each time
        return
