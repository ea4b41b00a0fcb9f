"""The embed stage against its model's bare forward passes, and the stage alone around a backbone that does nothing.

Reference = the network's forward passes on one prepared batch that stays on the device: same model, device, batch
shape and numerics, same process (so both profit from how affectkit sets up the memory allocator). Stage = reading crops
from the artifact, decoding their JPEGs, batches in the fixed shape, copying to the device, normalising, the same
passes, and writing, hashing and sealing the features. Making the model is in neither.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from _crops import make_crops
from _report import Measure, Ratio, alternate, machine, options, seconds, show_value

from affectkit import plugins
from affectkit.backbones.mean_pixel import MeanPixel
from affectkit.config import Numerics, Runtime
from affectkit.devices import resolved
from affectkit.stages.embed import BATCH_SIZES, Embed, EmbedConfig
from affectkit.stages.stage import Context
from affectkit.store import Artifact, Cache

SIDE = 224


class NoOp(MeanPixel):
    """A backbone of 512 dimensions that does nothing."""

    dim = 512

    def __call__(self, batch: Any) -> np.ndarray:
        return np.zeros((len(batch), self.dim), np.float32)


def stage(crops: Artifact, config: EmbedConfig, numerics: Numerics, workers: int = 0) -> Measure:
    """A measure of the stage's crops a second, each time into an empty cache."""

    def measure() -> float:
        with tempfile.TemporaryDirectory(dir=crops.path) as folder:
            context = Context(Cache(Path(folder)), Runtime(progress=False, workers=workers), numerics=numerics)
            done = Embed().run(Embed.Inputs(artifact=crops), config, context)
        assert not done.failed and done.computed == len(crops), done
        return done.rate

    return measure


def bare(config: EmbedConfig, numerics: Numerics, count: int) -> Measure:
    """A measure of the crops a second of the network's forward passes."""
    import torch

    from affectkit.learning.image_backbone import arithmetic

    numerics = resolved(numerics, BATCH_SIZES["image"])
    _, plugin, options = plugins.backbone(config.backbone, config.option)
    network = plugin(options, plugin.weights(options, config.weights), numerics).network
    pixels = torch.randint(0, 256, (numerics.batch_size, 3, SIDE, SIDE), dtype=torch.uint8)

    def passes() -> None:
        with arithmetic(network._device, numerics.precision):
            for _ in range(batches):
                network._forward(prepared)
            if network._device.type == "cuda":
                torch.cuda.synchronize()

    with arithmetic(network._device, numerics.precision):
        prepared = network.prepare(pixels)
    batches = -(-count // numerics.batch_size)
    return per_second(count, passes)


def per_second(count: int, work: Callable[[], object]) -> Measure:
    """A measure of crops a second."""
    taken = seconds(work)
    return lambda: count / taken()


def main() -> None:
    parser = options(
        __doc__, quick={"crops": 256, "no_op_crops": 3200, "rounds": 2},
        smoke={"crops": 2, "no_op_crops": 8, "batch_size": 2, "rounds": 1, "backbone": "resnet18"},
    )  # fmt: skip
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--weights", default="random", help="auto, random or a file: speed is the same")
    parser.add_argument("--crops", type=int, default=1600, help="crops through the network")
    parser.add_argument("--no-op-crops", type=int, default=12_800, help="crops past the backbone that does nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--channels-last", action="store_true")
    given = parser.parse_args()
    numerics = Numerics(device=given.device, precision=given.precision, batch_size=given.batch_size,
                        channels_last=given.channels_last)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        without_model(make_crops(Cache(Path(folder) / "no-op"), given.no_op_crops, SIDE), given.rounds)
        config = EmbedConfig(backbone=given.backbone, weights=given.weights)
        with_model(make_crops(Cache(Path(folder)), given.crops, SIDE), config, numerics, given.rounds)
    print(machine())


def without_model(crops: Artifact, rounds: int) -> None:
    """Print how many crops a second pass the stage when the backbone does nothing."""
    chosen = ("no-op", NoOp, NoOp.Options())
    with mock.patch.object(plugins, "backbone", return_value=chosen):
        measure = stage(crops, EmbedConfig(backbone="no-op"), Numerics(device="cpu"))
        measure()
        taken = alternate(rounds, stage=measure)["stage"]
    show_value("embed, no-op backbone", taken, "crops/s", at_least=1500)


def with_model(crops: Artifact, config: EmbedConfig, numerics: Numerics, rounds: int) -> None:
    """Print the ratio of both throughputs."""
    count = sum(crops.length(clip) for clip in crops.clips)
    whole, network = stage(crops, config, numerics), bare(config, numerics, count)
    whole(), network()  # imports, kernels chosen, memory
    taken = alternate(rounds, stage=whole, bare=network)
    about = f"{numerics.device}, {numerics.precision}, batch {numerics.batch_size}"
    about += ", channels last" * numerics.channels_last
    ratio = Ratio(taken["stage"], taken["bare"], "crops/s", at_least=0.9)
    ratio.show(f"embed, {config.backbone}, {about}: stage / bare forward")


if __name__ == "__main__":
    main()
