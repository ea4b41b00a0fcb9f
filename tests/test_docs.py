"""The code in the docs runs as it stands."""

from __future__ import annotations

import ast
import linecache
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from recipe_factory import SPLITS, write_set

from affectkit import plugins, tasks
from affectkit.config import Numerics, Runtime
from affectkit.store import Cache, features_schema, open_artifact

DOCS = Path(__file__).parents[1] / "docs"
PLACE = ".affectkit/embed/resnet50.tv_in1k-0123456789ab"


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)


def test_plain_h5py_and_affectkit_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = Cache().create("embed", "resnet50", {"stage": "embed"}, features_schema(4), out=Path(PLACE))
    part = artifact.new_part()
    for clip, rows in (("train-00", 3), ("val-00", 2)):
        times = np.arange(rows + 1) / 5
        values = np.random.default_rng(rows).normal(size=(rows, 4))
        part.append({"start": times[:-1], "end": times[1:], "valid": np.ones(rows), "values": values})
        part.end(clip, "source")
    part.commit()
    artifact.seal()
    by_h5py, by_affectkit = _blocks("cache-format.md", "python")
    seen: dict = {}
    exec(by_h5py, seen)
    exec(by_affectkit, seen)
    np.testing.assert_array_equal(seen["values"], seen["sequence"].values)
    assert len(seen["start"]) == len(seen["valid"]) == 3
    assert open_artifact(PLACE).clips == ["train-00", "val-00"]


def test_the_example_backbone_keeps_the_contract() -> None:
    code, _ = _blocks("plugins.md", "python")
    module: dict = {"__name__": "contrast"}
    exec(code, module)
    plugin = module["PLUGIN"]
    options = plugins.parse_options(plugin, [], "contrast")
    model = plugin(options, plugin.weights(options, "auto"), Numerics())
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    np.testing.assert_allclose(model(images), images.std(axis=(2, 3)) / 255, rtol=1e-6)
    assert model(images).shape == (4, plugin.dim)


def test_the_examples_are_installed_and_keep_the_contract(
    affectkit: Command, package: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """As packages with entry points; a file is enough as well."""
    contrast, peaks = _blocks("plugins.md", "python")
    site = package(contrast, "[affectkit.backbones]\ncontrast = bright\n[affectkit.heads]\npeaks = peaks_package\n")
    (site / "peaks_package.py").write_text(peaks)
    (tmp_path / "my_net.py").write_text(contrast)
    for plugin in ("contrast", "my_net.py:Contrast", "peaks"):
        done = affectkit("check-plugin", plugin)
        assert done.returncode == 0, done.stdout
        assert len(done.stdout.splitlines()) >= 10
        assert all(line.startswith("ok ") for line in done.stdout.splitlines())


def test_the_layers_on_the_page_are_those_that_there_are() -> None:
    pytest.importorskip("torch")
    from affectkit.nets import layers

    told = set(re.findall(r"^\| `(\w+)", (DOCS / "plugins.md").read_text(encoding="utf-8"), re.M))
    there = {name for name, value in vars(layers).items() if getattr(value, "__module__", "") == layers.__name__}
    assert told == {name for name in there if isinstance(getattr(layers, name), type)}
    assert all(getattr(layers, name).__doc__ for name in told)


def test_the_example_task_is_accepted(tmp_path: Path) -> None:
    _, toml = _blocks("plugins.md", "toml")
    file = tmp_path / "engagement.toml"
    file.write_text(toml, encoding="utf-8")
    task = tasks.get(str(file))
    assert (task.name, task.invalid) == ("engagement", (-1,))


def test_links_between_pages_lead_somewhere() -> None:
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_recipe_on_the_page_has_no_mistake(tmp_path: Path) -> None:
    from affectkit.recipes import check, read

    text, _ = _blocks("recipes.md", "toml")
    (tmp_path / "page.toml").write_text(text, encoding="utf-8")
    for tiny in (False, True):
        plan = check.plan(read.read(str(tmp_path / "page.toml"), tiny=tiny))
        assert [str(one) for one in plan.problems] == []
        assert list(plan.steps)[-1] == "submission"


def test_the_recipe_over_plain_folders_runs(affectkit: Command, tmp_path: Path) -> None:
    """As it stands on the page, but for videos instead of which there are folders of crops, and fewer epochs."""
    _, text = _blocks("recipes.md", "toml")
    (tmp_path / "page.toml").write_text(text.replace("fps = 5.0", "source_fps = 10.0"), encoding="utf-8")
    write_set(tmp_path / "data")
    (tmp_path / "data/cropped_aligned").rename(tmp_path / "clips")
    (tmp_path / "data/labels.csv").rename(tmp_path / "va.csv")
    rows = [f"{split}{number},{split}" for split, count in SPLITS.items() for number in range(count)]
    (tmp_path / "splits.csv").write_text("\n".join(["clip,split", *rows]) + "\n")
    done = affectkit("run", "page.toml", "--set", "gru.option.epochs=1", "--set", "faces.size=32")
    assert done.returncode == 0, done.stderr
    assert "va, split test" in done.stderr


@pytest.mark.parametrize("page", sorted((DOCS / "recipes").glob("*.md")), ids=lambda page: page.stem)
def test_commands_on_the_recipes_pages_name_what_is_there(page: Path) -> None:
    """Every `--set step.option=...` on a page is a setting of that recipe, together with the others of its line."""
    from affectkit.recipes import check, read

    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    names = [name for name in read.built_in() if f"affectkit run {name}" in text]
    assert names
    for line in text.splitlines():
        settings = [one.strip("'`") for one in re.findall(r"--set ('[^']+'|[^\s`]+)", line)]
        plan = check.plan(read.read(names[0], settings))
        assert [str(one) for one in plan.problems if not one.is_missing] == [], settings


_SHOWN = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.S)


def as_a_notebook(page: str) -> Iterator[tuple[str, str, str]]:
    """Each cell of a page, what the page shows below it, and what it prints here: run as a notebook runs it."""
    names: dict = {"__name__": "page"}
    for number, (code, shown) in enumerate(_SHOWN.findall((DOCS / page).read_text(encoding="utf-8"))):
        file, out = f"<cell {number} of {page}>", StringIO()
        linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
        *lines, last = ast.parse(code).body
        is_value = isinstance(last, ast.Expr) and not code.rstrip().endswith(";")
        with redirect_stdout(out), pd.option_context("display.width", 110, "display.max_columns", 12):
            exec(compile(ast.Module(lines if is_value else [*lines, last], []), file, "exec"), names)
            if is_value and (value := eval(compile(ast.Expression(last.value), file, "eval"), names)) is not None:
                print(repr(value))
        yield code, shown, out.getvalue()


@pytest.fixture
def demo_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with clips/, va.csv and new.mp4, few and short, of the demo."""
    from affectkit.practice.sets import make_practice
    from affectkit.practice.settings import PracticeConfig

    pytest.importorskip("skimage")
    make_practice("table", tmp_path / "demo", PracticeConfig(count=11, seconds=3.0, size=128), Runtime(progress=False))
    (tmp_path / "demo" / "clips").rename(tmp_path / "clips")
    (tmp_path / "demo" / "labels.csv").rename(tmp_path / "va.csv")
    (tmp_path / "clips/test-02.mp4").rename(tmp_path / "new.mp4")
    (tmp_path / "clips/cut.mp4").write_bytes(b"no video")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AFFECTKIT_CACHE", raising=False)
    return tmp_path


def _form(text: str) -> list[str]:
    """Words of an output, whatever its numbers, digests and dates are."""
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "DIGEST", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\S+", "DATE", text)
    return re.sub(r"-?\b\d+(\.\d+)?(e-?\d+)?\b", "N", text).replace("-", " ").split()


def test_python_on_the_page_runs_and_prints_what_it_says(demo_clips: Path) -> None:
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for code, shown, printed in as_a_notebook("python.md"):
            assert _form(shown) == _form(printed), code
            count += bool(shown)
    assert count >= 10
