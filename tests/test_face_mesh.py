"""Backbone face-mesh: its contract, and the geometry of faces in real pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from affectkit import plugins, weights
from affectkit.config import Numerics
from affectkit.errors import UsageError
from affectkit.plugins import contracts
from affectkit.plugins.contracts import backbones as of_backbones
from affectkit.plugins.contracts import checking as of_any

pytest.importorskip("ai_edge_litert")

AT_HAND = {entry.name for entry, state in weights.available() if state == "at hand"}
has_mesh = pytest.mark.skipif("face-mesh" not in AT_HAND, reason="affectkit weights fetch face-mesh")
has_iris = pytest.mark.skipif("iris" not in AT_HAND, reason="affectkit weights fetch iris")


def build(*given: str) -> Any:
    _, plugin, options = plugins.backbone("face-mesh", list(given))
    return plugin(options, plugin.weights(options, "auto"), Numerics(device="cpu", batch_size=8))


@has_mesh
@pytest.mark.parametrize("obligation", [*of_any.WEIGHTS, *of_backbones.IMAGE], ids=contracts.sentence)
def test_contract(obligation: contracts.Obligation) -> None:
    _, plugin, options = plugins.backbone("face-mesh", [])
    obligation(contracts.Candidate("backbones", "face-mesh", plugin, options))
