"""What feeds `affectkit finetune`: cached crops decoded, augmented and batched, against the training step's rate.

Loading = `batches` of 32 in threads over a faces artifact, shuffled, with SUN's augmentations (each p = 0.05), nothing
else running: what the step can be given. The step = forward, backward and AdamW of the network on a batch that is there
already. Both on all cores.

The second comparison, for interest, is a torch DataLoader over the same JPEGs in memory, with as many processes as
cores and torchvision's own transform classes with the same ranges; starting its processes is left out.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _crops import make_crops
from _report import Measure, Ratio, alternate, machine, options, seconds

from affectkit import plugins, tasks
from affectkit.learning.crop_table import CropTable
from affectkit.learning.order import batches
from affectkit.networks.static import read
from affectkit.plugins import Outputs, Units
from affectkit.store import Artifact, Cache

BATCH = 32
CORES = len(os.sched_getaffinity(0))
EXPR = tasks.get("expr")


def loading(crops: Artifact, probability: float) -> Measure:
    """A measure of the units a second that come out of `batches`."""
    table = CropTable(crops, crops.clips)
    rows = np.arange(len(table))

    def load(which: np.ndarray, rng: np.random.Generator | None) -> Any:
        return read(table, rows[which][:, None], rng, probability)

    labels = np.zeros((len(table), 1))
    units = Units(table.clips, table.offsets, table.start, table.end, labels, rows[:, None], load)
    order = np.random.default_rng(0).permutation(len(table))

    def epoch() -> None:
        for _ in batches(units, order, BATCH, seed=[0], augmented=True, workers=CORES):
            pass

    return per_second(len(table), epoch)


def step(backbone: str, side: int, count: int, channels_last: bool = False) -> Measure:
    """A measure of the crops a second of forward, backward and optimiser step of network `static`."""
    import torch

    plugin = plugins.get("networks", "static")
    options = plugin.Options(backbone=backbone, input_size=side, channels_last=channels_last)
    module = plugin(options, EXPR).build(plugin.weights(options, "random"), [Outputs(count=8, activation="linear")])
    module.train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4)
    images = torch.randint(0, 256, (BATCH, 1, 3, side, side), dtype=torch.uint8)
    classes = torch.randint(0, 8, (BATCH,))

    def steps() -> None:
        for _ in range(count // BATCH):
            loss = torch.nn.functional.cross_entropy(module(images)[:, 0], classes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return per_second(count // BATCH * BATCH, steps)


class Photos:
    """The same JPEGs as a torch data set, with torchvision's transforms."""

    def __init__(self, encoded: list[bytes], probability: float) -> None:
        from torchvision.transforms import v2

        self.encoded = encoded
        side = 112

        def sometimes(transform: Any) -> Any:
            return v2.RandomApply([transform], p=probability)

        self.transform = v2.Compose([
            sometimes(v2.RandomCrop(side, padding=12)), v2.RandomGrayscale(probability),
            sometimes(v2.ColorJitter(0.5, 0.3, 0.3, 0.3)), sometimes(v2.GaussianBlur((5, 9), (0.1, 5))),
            v2.RandomPerspective(0.55, probability), sometimes(v2.RandomRotation(45)),
            sometimes(v2.RandomResizedCrop(side, (0.49, 0.81), (1, 1))), v2.RandomPosterize(2, probability),
            v2.RandomAdjustSharpness(2, probability), v2.RandomEqualize(probability),
            v2.RandomHorizontalFlip(probability), v2.RandomVerticalFlip(probability),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> Any:
        import torch
        from torchvision.io import decode_image

        data = torch.frombuffer(bytearray(self.encoded[index]), dtype=torch.uint8)
        return self.transform(decode_image(data))


def loader(crops: Artifact, probability: float) -> Measure:
    """A measure of the crops a second of a DataLoader whose processes run already."""
    import torch

    encoded = [bytes(image) for clip in crops.clips for image in crops.column(clip, "image")]
    made = torch.utils.data.DataLoader(
        Photos(encoded, probability), BATCH, shuffle=True, num_workers=CORES, persistent_workers=True
    )
    for _ in made:
        pass

    def epoch() -> None:
        for _ in made:
            pass

    return per_second(len(encoded), epoch)


def per_second(count: int, work: Callable[[], object]) -> Measure:
    """A measure of crops a second."""
    taken = seconds(work)
    return lambda: count / taken()


def main() -> None:
    parser = options(
        __doc__, quick={"crops": 1600, "steps": 96, "rounds": 3},
        smoke={"crops": 32, "steps": 32, "side": 112, "rounds": 1, "backbones": ['resnet18']},
    )  # fmt: skip
    parser.add_argument("--backbones", nargs="+", default=["efficientnet-lite0", "resnet18.tv_in1k"])
    parser.add_argument("--crops", type=int, default=6400)
    parser.add_argument("--steps", type=int, default=320, help="crops that the step is measured on")
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--augment", type=float, default=0.05, help="probability of each augmentation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-loader", action="store_true", help="leave the DataLoader out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = make_crops(Cache(Path(folder)), given.crops, given.side)
        cases = {name: step(name, given.side, given.steps) for name in given.backbones}
        cases["channels_last"] = step(given.backbones[0], given.side, given.steps, channels_last=True)
        cases |= {"loading": loading(artifact, given.augment), "plain": loading(artifact, 0.0)}
        if not given.no_loader:
            cases["loader"] = loader(artifact, given.augment)
        taken = alternate(given.rounds, **cases)
    what = f"{given.crops:,} crops of {given.side} px, each augmentation p = {given.augment:g}, {CORES} threads"
    for name in given.backbones:
        Ratio(taken["loading"], taken[name], "crops/s", at_least=5).show(f"{what}; loading / step of {name}")
    faster = Ratio(taken["channels_last"], taken[given.backbones[0]], "crops/s").value
    print(f"  step of {given.backbones[0]} with channels_last / without: {faster:.2f}")
    print(f"  without augmentation: {statistics.median(taken['plain']):,.0f} crops/s")
    if not given.no_loader:
        ratio = Ratio(taken["loading"], taken["loader"], "crops/s").value
        print(f"  loading / torch DataLoader, for interest: {ratio:.2f}")
    print(machine())


if __name__ == "__main__":
    main()
