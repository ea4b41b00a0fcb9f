"""The models of a recipe built with random weights: how large they are, what goes in, what comes out.

No data set and no weights are needed: crops and sound are noise of the recipe's own sizes.
"""

from __future__ import annotations

import gc
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from affectkit import tasks
from affectkit.config import Numerics, Runtime
from affectkit.errors import AffectkitError
from affectkit.plugins import Example, Outputs
from affectkit.recipes._settings import chosen
from affectkit.recipes.check import RecipePlan
from affectkit.recipes.steps import Ref, Step
from affectkit.stages.audio import AudioConfig, ExtractAudio
from affectkit.stages.embed import WINDOW, EmbedConfig
from affectkit.stages.faces import ExtractFaces, FacesConfig
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Cache
from affectkit.tables.sources import clips_of
from affectkit.tasks import Task
from affectkit.types import FeatureSequence

_ROWS, _RATE, _SECONDS = 60, 5.0, 12
_CLIPS = 4


@dataclass(frozen=True)
class BuiltModel:
    """A step's model; `parameters` None where nothing is learnt by gradient, or it could not be built (`problem`)."""

    step: str
    what: str
    parameters: int | None = None
    takes: str = ""
    gives: str = ""
    problem: str = ""


def models(plan: RecipePlan) -> Iterator[BuiltModel]:
    """Every backbone, head and network of a plan, in order."""
    with TemporaryDirectory() as folder:
        builder = _Builder(plan, Path(folder))
        for step in plan.steps.values():
            build = _BUILD.get(step.stage.plugin[0] if step.stage.plugin else "")
            if build is None:
                continue
            try:
                model = build(builder, step)
            except AffectkitError as error:
                model = BuiltModel(step.name, _called(step), problem=str(error))
            if model is not None:
                yield model


class _Builder:
    """Builds one step after the other; `dims` are the dimensions of each output of the steps that make features, and
    `components` the names in them."""

    def __init__(self, plan: RecipePlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._dims: dict[str, dict[str, int]] = {}
        self._components: dict[str, set[str]] = {}
        self._cut: dict[str, Artifact] = {}

    def backbone(self, step: Step) -> BuiltModel | None:
        """A frozen network on crops of its input size, or windows of sound."""
        if step.weights_of:
            self._dims[step.name] = self._dims.get(step.weights_of, {})
            return None
        plugin, options = _plugin(step)
        numerics = Numerics(device="cpu", batch_size=1)
        made, parameters = _counted(lambda: plugin(options, plugin.weights(options, "random"), numerics))
        self._components[step.name] = {name for names in getattr(made, "names", {}).values() for name in names}
        if plugin.kind == "image":
            self._dims[step.name] = dict(getattr(made, "outputs", None) or {"values": made.dim})
            return BuiltModel(step.name, _called(step), parameters, _picture(made), f"[N,{made.dim}]")
        self._dims[step.name] = dict(made.outputs)
        seconds = step.config(EmbedConfig).window or WINDOW
        rows = len(made.frames(int(seconds * made.sampling_rate))[0])
        gives = ", ".join(f"{name} [N,{rows},{dim}]" for name, dim in made.outputs.items())
        return BuiltModel(step.name, _called(step), parameters, f"[N,{int(seconds * made.sampling_rate)}]", gives)

    def derived(self, step: Step) -> None:
        """Features that are made from features: no parameters, but other dimensions."""
        if step.stage.makes == "features" and step.inputs:
            dim = step.stage.dim(step.config(step.stage.Config), self._dim(step.inputs[0]))
            self._dims[step.name] = {"values": dim}

    def head(self, step: Step) -> BuiltModel:
        """A head after an epoch on noise: only then does it know all its shapes."""
        plugin, options = _plugin(step)
        task = _task(step)
        dims = [self._dim(ref) for ref in step.inputs]
        if "epochs" in type(options).model_fields:
            options = options.model_copy(update={"epochs": 1})
        head, parameters = _counted(lambda: _fitted(plugin(options, task), dims, task))
        (scores,) = head.predict(_examples(dims, task, 1), device="cpu")
        takes = " + ".join(f"[T,{dim}]" for dim in dims)
        rows = "T" if task.level == "time" else "1"
        return BuiltModel(step.name, _called(step), parameters or None, takes, f"[{rows},{scores.shape[1]}]")

    def network(self, step: Step) -> BuiltModel:
        """A network on a batch of one unit, read as it is in training."""
        plugin, options = _plugin(step)
        task = _task(step)
        network = plugin(options, task)
        weights = plugin.weights(options, "random")
        outputs = [Outputs(count=one.outputs, activation="linear") for one in (task, *_along(step))]
        module, parameters = _counted(lambda: network.build(weights, outputs))
        self._dims[step.name] = {"values": network.dim}
        upstream = self._noise(self._plan.steps[step.inputs[0].step])
        batch = network.units(upstream, upstream.clips, None, "midpoint", False).load(np.zeros(1, np.int64), None)
        takes = f"{_shape(batch)}{_resized(getattr(module, 'encoder', None))}"
        return BuiltModel(step.name, _called(step), parameters, takes, _shape(_forward(module, batch)))

    def _dim(self, ref: Ref) -> int:
        known = self._dims.get(ref.step) or {}
        if ref.column not in known and ref.column in self._components.get(ref.step, ()):
            return 1
        found = known.get(ref.column or "values") or (next(iter(known.values())) if len(known) == 1 else None)
        if found is None:
            raise AffectkitError(f"what {ref} gives is not known: its own model could not be built")
        return found

    def _noise(self, step: Step) -> Artifact:
        """A clip of noise, as the step would cut it."""
        if step.name not in self._cut:
            self._cut[step.name] = self._cut_noise(step)
        return self._cut[step.name]

    def _cut_noise(self, step: Step) -> Artifact:
        context = Context(Cache(self._folder / "cache"), Runtime(progress=False))
        folder = self._folder / step.name
        if step.stage.makes == "sound":
            config = step.config(AudioConfig).model_copy(update={"vad": "none", "denoise": "none"})
            _write_sound(folder / "noise.wav", config.sampling_rate)
            sound = ExtractAudio.Inputs(media=clips_of([str(folder)], {".wav"}))
            return ExtractAudio().run(sound, config, context).artifact
        faces = step.config(FacesConfig)
        _write_crops(folder / "noise", faces.size)
        crops = ExtractFaces.Inputs(media=clips_of([str(folder)]), source_fps=30.0)
        return ExtractFaces().run(crops, faces, context).artifact


_BUILD: dict[str, Callable[[_Builder, Step], BuiltModel | None]] = {
    "backbones": _Builder.backbone,
    "heads": _Builder.head,
    "networks": _Builder.network,
    "": _Builder.derived,
}
"""What builds the model of a step, by the group of its plugin."""


def _plugin(step: Step) -> tuple[Any, Any]:
    found = chosen(step)
    assert found is not None
    return found


def _called(step: Step) -> str:
    inner = step.settings.get("option", {})
    return f"{step.plugin} ({inner['backbone']})" if "backbone" in inner else step.plugin


def _task(step: Step) -> Task:
    return tasks.get(step.setting("task"))


def _along(step: Step) -> list[Task]:
    return [tasks.get(one.task) for one in step.aux]


def _counted(build: Callable[[], Any]) -> tuple[Any, int]:
    """What was built, and the parameters of all modules that there are now and were not before."""
    from torch import nn

    def parameters() -> dict[int, nn.Parameter]:
        gc.collect()
        found = [one for one in gc.get_objects() if issubclass(type(one), nn.Module)]
        return {id(p): p for module in found for p in module.parameters(recurse=False)}

    before = parameters()
    made = build()
    return made, sum(one.numel() for key, one in parameters().items() if key not in before)


def _picture(made: Any) -> str:
    """The input size of an image backbone."""
    size = getattr(getattr(made, "network", None), "input_size", None)
    return f"[N,3,{size[0]},{size[1]}]" if size else "[N,3,H,W]"


def _resized(encoder: Any) -> str:
    """What a network's backbone makes of crops first."""
    size = getattr(encoder, "input_size", None)
    return f", resized to {size[0]} x {size[1]}" if size else ""


def _fitted(head: Any, dims: list[int], task: Task) -> Any:
    head.fit(
        _examples(dims, task, _CLIPS), _examples(dims, task, _CLIPS), seed=0, device="cpu", monitor=lambda epoch: None
    )
    return head


def _examples(dims: list[int], task: Task, count: int) -> list[Example]:
    """Clips of noise with labels of noise."""
    generator = np.random.default_rng(0)
    start = np.arange(_ROWS) / _RATE
    rows = _ROWS if task.level == "time" else 1
    found = []
    for number in range(count):
        inputs = tuple(
            FeatureSequence(
                start, start + 1 / _RATE, generator.normal(size=(_ROWS, dim)).astype(np.float32), np.ones(_ROWS, bool)
            )
            for dim in dims
        )
        labels: Any = generator.uniform(0, 1, (rows, task.outputs))
        if task.kind == "multiclass":
            labels = (np.arange(rows)[:, None] + number) % task.outputs * 1.0
        found.append(Example(f"noise{number}", inputs, labels.round() if task.kind == "multilabel" else labels))
    return found


def _forward(module: Any, batch: Any) -> Any:
    import torch

    with torch.inference_mode():
        return module.eval()(batch)


def _shape(values: Any) -> str:
    return f"[N,{','.join(map(str, values.shape[1:]))}]"


def _write_crops(folder: Path, size: int) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    for frame in range(int(_SECONDS * 30)):
        Image.fromarray(pixels).save(folder / f"{frame + 1:05d}.jpg", quality=50)


def _write_sound(path: Path, rate: int) -> None:
    path.parent.mkdir(parents=True)
    samples = np.random.default_rng(0).integers(-9999, 9999, _SECONDS * rate, np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
