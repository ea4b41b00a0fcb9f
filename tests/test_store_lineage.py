"""Artifacts that say they were made from each other: every walk along `upstream` ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from store_tables import SCHEMAS, artifact

from affectkit.errors import HostileFile, UsageError
from affectkit.stages.trained import lineage
from affectkit.store import Artifact, ancestors, open_artifact


def _made(root: Path, names: str) -> dict[str, Artifact]:
    return {name: artifact(root, SCHEMAS["features"], of=name) for name in names}


def _claim(made: Artifact, upstream: list[Artifact]) -> None:
    """Forge what an artifact was made from."""
    file = made.path / "stage.json"
    about = json.loads(file.read_text()) | {"upstream": [str(one.path) for one in upstream]}
    file.write_text(json.dumps(about))


def test_a_chain_is_told_from_its_beginning(tmp_path: Path) -> None:
    made = _made(tmp_path, "abc")
    _claim(made["b"], [made["a"]])
    _claim(made["c"], [made["b"], made["a"]])
    assert [one.path for one in ancestors(open_artifact(made["c"].path))] == [made["a"].path, made["b"].path]
    fingerprints = [made[name].stage.fingerprint for name in "abc"]
    assert [step["fingerprint"] for step in lineage(open_artifact(made["c"].path))] == fingerprints


@pytest.mark.parametrize("loop", ["a", "ab", "abc"])
def test_a_loop_is_one_line(loop: str, tmp_path: Path) -> None:
    made = _made(tmp_path, loop)
    for name, source in zip(loop, loop[1:] + loop[0], strict=True):
        _claim(made[name], [made[source]])
    with pytest.raises(HostileFile, match="made from itself"):
        ancestors(open_artifact(made["a"].path))


def test_paths_that_double_at_every_step_are_walked_once(tmp_path: Path) -> None:
    """Forty levels of two artifacts, each made from both of the level below: 2^40 paths, 80 artifacts."""
    levels = [[artifact(tmp_path, SCHEMAS["features"], of=f"{level}{side}") for side in "ab"] for level in range(40)]
    for above, below in zip(levels[1:], levels[:-1], strict=True):
        for one in above:
            _claim(one, [*below, *below])
    assert len(ancestors(open_artifact(levels[-1][0].path))) == 2 * 39


def test_what_is_gone_is_named(tmp_path: Path) -> None:
    made = _made(tmp_path, "ab")
    _claim(made["a"], [made["b"]])
    (made["b"].path / "stage.json").unlink()
    with pytest.raises(UsageError, match="not there any more"):
        ancestors(open_artifact(made["a"].path))
