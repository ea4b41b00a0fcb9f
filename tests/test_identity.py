"""Every setting of a stage enters its fingerprint: changed alone, it changes what `identity` returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crop_contract_factory import wanting
from recipe_factory import write_set

import affectkit as ak
from affectkit import plugins
from affectkit.stages import catalogue
from affectkit.store import Artifact, Features

OTHERS: dict[str, dict[str, Any]] = {
    "train-head": {
        "task": None, "head": "gru", "option": ["epochs=7"], "label_pooling": "mean", "seed": 1, "seeds": 2,
        "smooth": "box", "half_width": 0.5, "split_by": None, "val_fraction": None, "refit": None,
    },
    "evaluate": {
        "task": None, "split": "val", "rows": "predictions", "rate": 2.0, "label_pooling": "mean", "missing": "hold",
        "by": "subject", "draws": 7, "level": 0.9, "seed": 1, "figures": True, "draw_clips": "train*",
    },
    "compare": {
        "task": None, "split": "val", "rows": "predictions", "rate": 2.0, "label_pooling": "mean", "missing": "hold",
        "by": "subject", "draws": 7, "level": 0.9, "seed": 1, "reference": "best",
    },
    "fuse": {
        "task": None, "method": "nnls", "option": ["draws=60"], "rate": 2.0, "gate": None, "beside": ["nnls"],
        "folds": 3, "by": "subject", "seed": 1,
    },
    "functionals": {
        "set": "sun-visual", "functional": ["mean"], "window": 2.0, "hop": 0.5, "column": None, "dtype": "float16",
    },
    "embed": {
        "backbone": "efficientnet-lite0", "option": None, "weights": None, "dtype": "float16", "window": None,
        "hop": None, "min_window": None, "padding": None, "output": None, "crops_are": "margin=0.2,shape=square",
    },
}  # fmt: skip
"""Of every setting another value. None: it enters by what it changes (a data digest, the weights' own digest), is
for other inputs than those of this test, or is another task with other labels."""
WITH: dict[tuple[str, str], dict[str, Any]] = {
    ("train-head", "half_width"): {"smooth": "hamming"}, ("evaluate", "draw_clips"): {"figures": True},
    ("train-head", "option"): {"head": "mlp"}, ("train-head", "label_pooling"): {},
    ("embed", "crops_are"): {"backbone": plugins.name_of("backbones", wanting()), "crops_are": "matching"},
}  # fmt: skip
"""Settings that another one needs beside it."""
BASE: dict[str, dict[str, Any]] = {
    "train-head": {"task": "va", "head": "mlp"}, "evaluate": {"task": "va"}, "compare": {"task": "va"},
    "fuse": {"task": "va"}, "functionals": {}, "embed": {"backbone": "mean-pixel"},
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each stage reads, of a small set."""
    folder = tmp_path_factory.mktemp("identity")
    write_set(folder)
    cache, labels = folder / "cache", folder / "labels.csv"
    run: dict[str, Any] = {"cache": cache, "progress": False}
    faces = ak.extract_faces(folder / "cropped_aligned", size=32, source_fps=10, **run)
    features = ak.embed(faces, backbone="mean-pixel", **run)
    head = ak.train_head(features, labels=labels, task="va", head="mlp", option={"epochs": 1}, **run)
    scores = ak.predict(head, features, **run)
    crops, rows, path = Artifact(Path(faces.path)), Features(Artifact(Path(features.path))), Path(scores.path)
    return {
        "train-head": {"features": [rows], "labels": labels},
        "evaluate": {"predictions": path, "labels": labels},
        "compare": {"predictions": [path, path], "labels": labels},
        "fuse": {"predictions": [path, path], "labels": labels},
        "functionals": {"features": rows},
        "embed": {"artifact": crops},
    }


def cases() -> Iterator[tuple[str, str]]:
    yield from ((stage, field) for stage, values in OTHERS.items() for field in values if values[field] is not None)


@pytest.mark.parametrize(("name", "field"), cases())
def test_a_setting_changed_alone_changes_the_identity(name: str, field: str, inputs: dict[str, dict[str, Any]]) -> None:
    stage = catalogue.get(name)
    base = BASE[name] | WITH.get((name, field), {})
    given = stage.Inputs(**inputs[name])
    before, after = (
        stage.identity(stage.resolve(given, stage.Config.model_validate(values)))
        for values in (base, base | {field: OTHERS[name][field]})
    )
    assert before != after


@pytest.mark.parametrize("name", OTHERS)
def test_no_setting_is_forgotten_here(name: str) -> None:
    """A new setting is listed above with another value, or with None and a reason."""
    assert set(OTHERS[name]) == set(catalogue.get(name).Config.model_fields)
