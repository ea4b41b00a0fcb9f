"""SUN's temporal networks by name (arXiv 2403.12609), as defaults for the options of the head that each one is.

`none` is what a head does by itself. A SUN network of `transformer` is post-norm and as wide as the features; at the
shared learning rate that collapses on wide ones (1280 dimensions: constant scores from some epoch on), so the head's
own settings are others.

Published: 6 encoder layers with 8,8,8,8,4,4 heads (v1), BatchNorm and 3 layers of 8 (v3), a 2-layer GRU with dropout
0.1 (v4), 1 layer (v5); for sound a 2-layer GRU from 1024 to 256 with dropout 0.5 (V1) and two encoder layers of 32 and
16 heads (V2, V3). Not found, so ours: all of v2, which is v1 after the BatchNorm of v3; v5's 8 heads; v4's width; and
what sets the audio V3 apart from V2: here they are the same network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SUN_TRANSFORMER: Mapping[str, Any] = {"norm": "post", "width": None, "learning_rate": 1e-3}

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "transformer": {
        "none": {},
        "sun-v1": {"layers": 6, "heads": "8,8,8,8,4,4", "batch_norm": False, **_SUN_TRANSFORMER},
        "sun-v2": {"layers": 6, "heads": "8,8,8,8,4,4", "batch_norm": True, **_SUN_TRANSFORMER},
        "sun-v3": {"layers": 3, "heads": "8", "batch_norm": True, **_SUN_TRANSFORMER},
        "sun-v5": {"layers": 1, "heads": "8", "batch_norm": False, **_SUN_TRANSFORMER},
        "sun-audio-v2": {"layers": 2, "heads": "32,16", "batch_norm": False, **_SUN_TRANSFORMER},
        "sun-audio-v3": {"layers": 2, "heads": "32,16", "batch_norm": False, **_SUN_TRANSFORMER},
    },
    "gru": {
        "sun-v4": {"layers": 2, "hidden": 256, "dropout": 0.1},
        "sun-audio-v1": {"layers": 2, "hidden": 256, "dropout": 0.5},
    },
}
DESCRIPTION = "a network of SUN, with or without `sun-` (none: this head's own); options that are given win: "


def filled(head: str, given: Any, default: str) -> Any:
    """Options as given, with the preset's values for those that were not. Raises ValueError for a preset that is not
    this head's, and says whose it is.

    >>> filled("gru", {"preset": "audio-v1", "layers": 1}, "sun-v4")
    {'layers': 1, 'hidden': 256, 'dropout': 0.5, 'preset': 'sun-audio-v1'}
    """
    if not isinstance(given, dict):
        return given
    name = _full(given.get("preset", default))
    own = PRESETS[head]
    if name not in own:
        for other, presets in PRESETS.items():
            if name in presets:
                raise ValueError(f"preset={given['preset']} is a {other}: --head {other} -o preset={name}")
        raise ValueError(f"preset={given['preset']} is none of {', '.join(own)}")
    return {**own[name], **given, "preset": name}


def _full(name: Any) -> str:
    return name if name == "none" or str(name).startswith("sun-") else f"sun-{name}"
