"""The embed stage on speech against its model's bare forward passes.

The model has the size of wav2vec2-base (12 layers of 768 dimensions, 95 million parameters), random weights, and is
read from a folder as any model of the hub would be. Reference = its forward passes on one prepared batch of windows
that stays on the device: same model, device, batch shape, window and numerics, same process. Stage = reading waveforms
from the artifact, cutting windows, batches in the fixed shape, copying to the device, normalising, the same passes, and
writing, hashing and sealing the features. Making the model is in neither.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from _report import Measure, Ratio, alternate, machine, options, seconds

from affectkit import plugins
from affectkit.config import Numerics, Runtime
from affectkit.devices import resolved
from affectkit.stages.embed import BATCH_SIZES, Embed, EmbedConfig
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Cache, waveforms_schema

RATE, WINDOWS_A_CLIP = 16_000, 10


def save_model(folder: Path, layers: int) -> Path:
    """A folder with a model of wav2vec2-base's width, so many layers and random weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    Wav2Vec2Model(Wav2Vec2Config(num_hidden_layers=layers)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": RATE}))
    return folder


def make_waveforms(cache: Cache, count: int, window: float) -> Artifact:
    """An audio artifact of noise, in clips of so many windows that overlap by half."""
    inputs = {"config": {"sampling_rate": RATE}, "count": count, "window": window}
    artifact = cache.create("audio", "benchmark", inputs, waveforms_schema())
    rng = np.random.default_rng(0)
    part = artifact.new_part()
    for first in range(0, count, WINDOWS_A_CLIP):
        length = window * (min(WINDOWS_A_CLIP, count - first) + 1) / 2
        part.append({"samples": rng.normal(0, 0.1, round(length * RATE)).astype(np.float32)})
        part.append({"start": np.zeros(1), "end": np.full(1, length), "valid": np.ones(1)})
        scalars = {"sampling_rate": RATE, "offset": 0.0, "origin": 0.0}
        part.end(f"clip{first:07d}", f"{first:064x}", scalars)
    part.commit()
    artifact.seal()
    return artifact


def stage(audio: Artifact, config: EmbedConfig, numerics: Numerics, count: int) -> Measure:
    """A measure of the stage's windows a second, each time into an empty cache."""

    def measure() -> float:
        with tempfile.TemporaryDirectory(dir=audio.path) as folder:
            context = Context(Cache(Path(folder)), Runtime(progress=False), numerics=numerics)
            done = Embed().run(Embed.Inputs(artifact=audio), config, context)
            rows = sum(done.artifact.length(clip) for clip in done.artifact.clips)
        assert not done.failed and done.computed == len(audio) and rows == count, done
        return done.rate

    return measure


def bare(config: EmbedConfig, numerics: Numerics, count: int) -> Measure:
    """A measure of the windows a second of the network's forward passes."""
    import torch

    from affectkit.learning.image_backbone import arithmetic

    numerics = resolved(numerics, BATCH_SIZES["audio"])
    _, plugin, options = plugins.backbone(config.backbone, config.option)
    network = plugin(options, plugin.weights(options, config.weights), numerics).network
    size, length = numerics.batch_size or BATCH_SIZES["audio"], round((config.window or 4) * RATE)
    with arithmetic(network._device, numerics.precision):
        prepared = network.prepare(torch.randn((size, length)) / 10)

    def passes() -> None:
        with arithmetic(network._device, numerics.precision):
            for _ in range(-(-count // size)):
                network.forward(prepared)
            if network._device.type == "cuda":
                torch.cuda.synchronize()

    taken = seconds(passes)
    return lambda: count / taken()


def main() -> None:
    parser = options(
        __doc__, quick={"windows": 16, "window": 1.0, "rounds": 2},
        smoke={"windows": 4, "window": 1.0, "batch_size": 2, "layers": 1, "rounds": 1},
    )  # fmt: skip
    parser.add_argument("--windows", type=int, default=64, help="windows through the network")
    parser.add_argument("--window", type=float, default=4.0, help="length of a window (s)")
    parser.add_argument("--layers", type=int, default=12, help="of the model: 12 is that of base size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--batch-size", type=int, default=8)
    given = parser.parse_args()
    count, window = given.windows, given.window
    numerics = Numerics(device=given.device, precision=given.precision, batch_size=given.batch_size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        option = [f"model={save_model(folder / 'model', given.layers)}"]
        config = EmbedConfig(backbone="wav2vec2", option=option, window=window, min_window=window)
        audio = make_waveforms(Cache(folder / "cache"), count, window)
        whole, network = stage(audio, config, numerics, count), bare(config, numerics, count)
        whole(), network()  # imports, kernels chosen, memory
        taken = alternate(given.rounds, stage=whole, bare=network)
    about = f"{given.device}, {given.precision}, batch {given.batch_size}, windows of {window:g} s"
    ratio = Ratio(taken["stage"], taken["bare"], "windows/s", at_least=0.9)
    ratio.show(f"embed, wav2vec2 of {given.layers} layers, {about}: stage / bare forward")
    print(machine())


if __name__ == "__main__":
    main()
