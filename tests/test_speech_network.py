"""Network speech: what it computes, that padding and neighbours do not matter, and that it learns what is planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import speech_models
from network_inputs import make_sound
from stage_calls import finetune
from tuned_networks import built, outputs

from affectkit import tasks
from affectkit.config import Runtime
from affectkit.errors import UsageError
from affectkit.learning import saved
from affectkit.nets.speech import Start, again
from affectkit.networks.speech import Speech, SpeechOptions
from affectkit.stages.finetune import FinetuneConfig
from affectkit.store import Cache
from affectkit.types import ClipLabels

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

RATE = 16_000
VA, EXPR, COMPOUND = tasks.get("va"), tasks.get("expr"), tasks.get("compound")
ONE_SECOND = {"window": 1, "hop": 1, "min_window": 0.4}


def of(folder: Path, kind: str, task: tasks.Task = VA, **options: Any) -> tuple[Speech, Any]:
    """Network and module over a tiny model of transformers' own classes."""
    path = speech_models.save(speech_models.model(kind), folder / "model", {})
    chosen = SpeechOptions(**{"model": str(path), "hidden": 16, "heads": "4,2"} | ONE_SECOND | options)
    network = Speech(chosen, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = network.build(Speech.weights(chosen, "auto"), [outputs(task)]).eval()
    return network, module


# ---- what it computes


@pytest.mark.parametrize("tail", ["gru", "transformer"])
def test_scores_are_those_of_transformers_and_torch(tail: str, tmp_path: Path) -> None:
    _, module = of(tmp_path, "wav2vec2-stable", tail=tail, rate=5)
    reference = speech_models.model("wav2vec2-stable")
    waves = torch.tensor(speech_models.windows(3, 1.0))
    with torch.inference_mode():
        ready = (waves - waves.mean(1, keepdim=True)) / (waves.var(1, correction=0, keepdim=True) + 1e-7).sqrt()
        hidden = reference(ready).last_hidden_state
        if tail == "gru":
            gru = torch.nn.GRU(32, 16, 2, batch_first=True)
            gru.load_state_dict(module.tail.blocks[0].net.state_dict())
            states = gru(hidden)[0]
        else:
            states, there = hidden, torch.ones(hidden.shape[:2], dtype=torch.bool)
            for heads, layer in zip((4, 2), module.tail.blocks, strict=True):
                assert layer.heads == heads
                states = layer(states, there)
        expected = torch.zeros(3, 5, 2)
        for step in range(5):
            within = [f for f in range(hidden.shape[1]) if step / 5 <= (320 * f + 200) / RATE < (step + 1) / 5]
            assert len(within) in (9, 10)
            expected[:, step] = torch.tanh(module.scores(states[:, within].mean(dim=1)))
        torch.testing.assert_close(module(waves), expected, atol=2e-6, rtol=0)
        torch.testing.assert_close(module.embed(waves), states.mean(dim=1), atol=2e-6, rtol=0)


def test_sizes_are_those_of_the_paper() -> None:
    """PDEM and its tails, described without taking memory for them."""
    import transformers

    config = transformers.Wav2Vec2Config(
        hidden_size=1024, num_hidden_layers=12, num_attention_heads=16, intermediate_size=4096,
        feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
    )  # fmt: skip
    with torch.device("meta"):
        encoder = sum(p.numel() for p in transformers.Wav2Vec2Model(config).parameters())
        for tail, own in (
            ("gru", 3 * (1024 + 256 + 2) * 256 + 3 * (256 + 256 + 2) * 256),
            ("transformer", 2 * (4 * 1024 * 1024 + 4 * 1024 + 2 * (1024 * 1024 + 1024) + 4 * 1024)),
        ):
            network = Speech(SpeechOptions(preset="sun", tail=tail), EXPR)
            network.architecture = _pdem().saved_architecture
            module = network.build(None, [outputs(EXPR)])
            width = 256 if tail == "gru" else 1024
            assert sum(p.numel() for p in module.parameters()) == encoder + own + 8 * (width + 1)
            assert network.dim == width
            blocks = network.blocks(module)
            assert len(blocks) == 14 and len(blocks[12]) == len(blocks[11]) + 2  # with the closing norm
            assert module.steps == 4  # one label a second


def _pdem() -> Start:
    from affectkit.learning import pdem

    with torch.device("meta"):
        return again({"config": pdem.ARCHITECTURE, "normalise": True, "sampling_rate": RATE})


def test_presets_say_what_the_paper_says() -> None:
    options = SpeechOptions(preset="sun")
    assert (options.optimiser, options.learning_rate, options.batch_size) == ("adam", 1e-4, 16)
    assert (options.class_weights, options.label_smoothing) == ("max", 0.2)
    assert SpeechOptions(preset="sun", batch_size=4).batch_size == 4
    assert Speech(options, EXPR).options.label_smoothing == 0.2
    assert Speech(options, VA).options.label_smoothing == 0
    windowing = options.windowing
    assert (windowing.window, windowing.hop, windowing.shortest) == (4, 2, 2)


# ---- padding and neighbours


@pytest.mark.parametrize("tail", ["gru", "transformer"])
@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-stable", "hubert", "wavlm-stable", "data2vec"])
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_a_short_window_gives_what_it_gives_alone(kind: str, tail: str, tmp_path: Path) -> None:
    network, module = of(tmp_path, kind, tail=tail)
    waves = torch.tensor(speech_models.windows(4, 1.0)) + 0.05
    lengths = [16_000, 9000, 12_345, 6400]
    padded = waves.clone()
    for wave, length in zip(padded, lengths, strict=True):
        wave[length:] = torch.nan
    with torch.inference_mode():
        states, there = module.states(padded)
        embedded = network.embed(module, padded)
        for row, length in enumerate(lengths):
            alone, all_there = module.states(waves[row : row + 1, :length])
            frames = alone.shape[1]
            assert all_there.all() and there[row].sum() == frames == network._described.frames(length)
            torch.testing.assert_close(states[row, :frames], alone[0], atol=2e-5, rtol=0)
            torch.testing.assert_close(
                embedded[row], network.embed(module, waves[row : row + 1, :length])[0], atol=2e-5, rtol=0
            )
        assert module(padded).isfinite().all()


def test_neighbours_do_not_change_a_window() -> None:
    _, module = built("speech", VA)
    waves = torch.tensor(speech_models.windows(8, 1.0))
    waves[3, 7000:] = torch.nan
    other = torch.tensor(speech_models.windows(8, 1.0, seed=1))
    other[5] = waves[3]
    with torch.inference_mode():
        assert torch.equal(module(waves)[3], module(other)[5])
        whole = torch.tensor(speech_models.windows(8, 1.0))
        assert torch.equal(module(waves)[[0, 1, 2, 4]], module(whole)[[0, 1, 2, 4]])


def test_the_place_in_a_batch_does_not_matter_with_several_threads() -> None:
    network, module = built("speech", VA)
    waves = torch.tensor(speech_models.windows(8, 1.0))
    waves[1, 9000:] = torch.nan
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            assert torch.equal(module(waves)[order], module(waves[order]))
            assert torch.equal(network.embed(module, waves)[order], network.embed(module, waves[order]))
    finally:
        torch.set_num_threads(1)


def test_silence_and_loudness() -> None:
    _, module = built("speech", VA)
    with torch.inference_mode():
        assert module(torch.zeros(1, RATE)).isfinite().all()
        waves = torch.tensor(speech_models.windows(1, 1.0))
        torch.testing.assert_close(module(waves), module(waves * 10 + 3), atol=1e-3, rtol=0)


# ---- what is trained


def test_only_blocks_are_trained() -> None:
    network, module = built("speech", VA)
    module.train()
    module(torch.tensor(speech_models.windows(2, 1.0))).sum().backward()
    trained = {id(p) for block in network.blocks(module) for p in block}
    for name, parameter in module.named_parameters():
        frozen = "feature_extractor" in name or "masked_spec_embed" in name
        assert (id(parameter) in trained) != frozen, name
        assert (parameter.grad is None) == frozen, name
    assert len(network.blocks(module)) == 1 + 2 + 1


def test_nothing_but_dropout_is_drawn_in_training() -> None:
    """SpecAugment of transformers draws from numpy's global generator, layer drop from torch's."""
    _, module = built("speech", VA, "dropout=0")
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout") and isinstance(part.dropout, float):
            part.dropout = 0.0
    waves = torch.tensor(speech_models.windows(2, 1.0))
    found = [module.train()(waves) for _ in range(3)]
    torch.testing.assert_close(found[0], module.eval()(waves))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_checkpointing_gives_the_same_gradients() -> None:
    found = []
    for option in ("false", "true"):
        _, module = built("speech", VA, f"checkpointing={option}")
        torch.manual_seed(0)
        module.train()(torch.tensor(speech_models.windows(2, 1.0))).square().sum().backward()
        found.append({name: p.grad for name, p in module.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], msg=name)


# ---- units


def units(network: Speech, audio: Any, labels: dict[str, ClipLabels] | None = None, pooling: str = "midpoint") -> Any:
    return network.units(audio, audio.clips, labels, pooling, False)


def test_units_lie_where_embed_lays_windows(cache: Cache) -> None:
    rng = np.random.default_rng(0)
    seconds = {"a": 9.0, "b": 1.5, "c": 4.0, "d": 7.3}
    waves = {clip: rng.standard_normal(round(length * RATE)).astype(np.float32) for clip, length in seconds.items()}
    audio = make_sound(cache, waves, RATE, offset=0.25, speech={"d": [(0.25, 3.0)]})
    found = units(Speech(SpeechOptions(model="tiny"), EXPR), audio)
    assert np.diff(found.offsets).tolist() == [9, 1, 4, 7]
    assert found.start[:3].tolist() == [0.25, 1.25, 2.25] and found.end[20] == pytest.approx(0.25 + 7)
    first_d = 14
    assert found.targets.tolist() == [
        [0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, -1],  # a; the last window holds 3 s
        [9, -1, -1, -1],  # b: its only window is short, and kept
        [10, 11, 12, 13], [12, 13, -1, -1],  # c
        [first_d, first_d + 1, first_d + 2, -1], [first_d + 2, -1, -1, -1],  # d: nobody speaks after 2.75 s
    ]  # fmt: skip
    loaded = found.load(np.array([3, 6]), None).numpy()
    assert loaded.shape == (2, 4 * RATE) and np.isnan(loaded).sum(axis=1).tolist() == [RATE, 2 * RATE]
    assert np.array_equal(loaded[0, : 3 * RATE], waves["a"][6 * RATE :])


def test_labels_are_those_of_the_steps(cache: Cache) -> None:
    audio = make_sound(cache, {"a": np.ones(4 * RATE, np.float32), "b": np.ones(4 * RATE, np.float32)}, RATE)
    frames = np.arange(120) / 30
    values = np.stack([np.sin(frames), np.cos(frames)], axis=1)
    labels = {"a": ClipLabels(frames, frames + 1 / 30, values)}
    found = units(Speech(SpeechOptions(model="tiny"), VA), audio, labels, "mean")
    assert found.labels.shape == (40, 2) and np.isnan(found.labels[20:]).all()
    for step in range(20):
        np.testing.assert_allclose(found.labels[step], values[step * 6 : step * 6 + 6].mean(axis=0), atol=1e-9)


def test_a_clip_level_task_has_one_score_a_window(cache: Cache) -> None:
    audio = make_sound(cache, {"a": np.ones(9 * RATE, np.float32), "b": np.ones(RATE, np.float32)}, RATE)
    labels = {"a": ClipLabels(np.zeros(1), np.full(1, np.inf), np.array([[3.0]]))}
    found = units(Speech(SpeechOptions(model="tiny"), COMPOUND), audio, labels)
    assert found.targets.tolist() == [*[[0]] * 4, [1]] and found.offsets.tolist() == [0, 1, 2]
    assert found.labels[0, 0] == 3 and np.isnan(found.labels[1, 0])
    assert (found.start.tolist(), found.end.tolist()) == ([0, 0], [9, 1])


@pytest.mark.parametrize(("task", "rows"), [(VA, 1), (COMPOUND, 1)])
def test_sound_too_short_for_a_frame_has_no_unit(cache: Cache, task: tasks.Task, rows: int) -> None:
    waves = {"a": np.ones(399, np.float32), "b": np.ones(400, np.float32), "c": np.ones(0, np.float32)}
    found = units(Speech(SpeechOptions(model="tiny"), task), make_sound(cache, waves, RATE))
    assert found.targets.max(axis=1).tolist() == [1]  # of b, though it is shorter than half a label step
    assert found.load(np.array([0]), None).isfinite().sum() == 400


def test_augmented_windows_keep_their_end(cache: Cache) -> None:
    wave = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    found = units(Speech(SpeechOptions(model="tiny", augment=1), VA), make_sound(cache, {"a": wave}, RATE))
    plain, one, two = (found.load(np.array([0]), rng) for rng in (None, *map(np.random.default_rng, (1, 1))))
    assert torch.equal(one.isnan(), plain.isnan()) and one.isnan().sum() == RATE
    assert torch.equal(one.nan_to_num(), two.nan_to_num()) and not torch.equal(one.nan_to_num(), plain.nan_to_num())


def test_what_does_not_fit_is_refused(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rate=3: a window of 4 s every 2.5 s has no whole number of label steps"):
        Speech(SpeechOptions(rate=3, hop=2.5), VA)
    with pytest.raises(UsageError, match="give --weights random"):
        Speech.weights(SpeechOptions(model="tiny"), "auto")
    with pytest.raises(ValueError, match=r"hop=5 is longer than window=4"):
        SpeechOptions(hop=5)
    network = Speech(SpeechOptions(model="tiny"), VA)
    units(network, make_sound(cache, {"a": np.ones(32_000, np.float32)}, 8000))
    with pytest.raises(UsageError, match="extract audio --sampling-rate as the model hears"):
        network.build(Speech.weights(network.options, "random"), [outputs(VA)])
    with pytest.raises(UsageError, match="32 features cannot be shared by 5 attention heads"):
        of(tmp_path, "wav2vec2", tail="transformer", heads="5")


# ---- learning


def test_pitch_is_learnt_where_the_loudness_says_nothing(cache: Cache, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(4 * RATE) / RATE
    waves, lines = {}, ["clip,start,end,label,split"]
    for clip in range(8):
        high = rng.permutation([0, 0, 1, 1])
        pitch = np.repeat(np.where(high, 420.0, 160.0), RATE) * rng.uniform(0.95, 1.05)
        tone = sum(np.sin(2 * np.pi * k * pitch * times) / k for k in range(1, 5))
        waves[f"c{clip}"] = (rng.uniform(0.05, 0.3) * (tone + 0.05 * rng.standard_normal(len(times)))).astype("f4")
        split = "val" if clip >= 6 else "train"
        lines += [f"c{clip},{second},{second + 1},{('low', 'high')[h]},{split}" for second, h in enumerate(high)]
    (tmp_path / "pitch.csv").write_text("\n".join(lines) + "\n")
    task = 'name = "pitch"\nkind = "multiclass"\nlevel = "time"\ntargets = ["low", "high"]\nmetric = "uar"\n'
    (tmp_path / "pitch.toml").write_text(task)
    options = ["model=tiny", "hidden=32", "dropout=0", "epochs=8", "batch_size=8", "learning_rate=0.01",
               "window=1", "hop=1", "warmup_steps=2", "patience=4"]  # fmt: skip
    done = finetune(
        cache, make_sound(cache, waves, RATE), tmp_path / "pitch.csv",
        FinetuneConfig(task=str(tmp_path / "pitch.toml"), network="speech", option=options, weights="random"),
        Runtime(workers=1, progress=False), device="cpu",
    )  # fmt: skip
    assert done.report["val_score"]["mean"] > 0.95
    header = saved.read_header(done.artifact.path)
    assert header.network == "speech" and header.weights.name == "tiny"


def test_short_clips_are_learnt_from_and_counted(cache: Cache, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seconds = {"a": 1.0, "b": 1.0, "c": 0.3}
    waves = {clip: (0.1 * rng.standard_normal(round(s * RATE))).astype("f4") for clip, s in seconds.items()}
    lines = ["clip,start,end,valence,arousal,split"]
    lines += [f"{clip},0,1,{0.1 * n},{-0.2 * n},{('train', 'val', 'train')[n]}" for n, clip in enumerate(seconds)]
    (tmp_path / "va.csv").write_text("\n".join(lines) + "\n")
    options = ["model=tiny", "hidden=8", "epochs=1", "window=1", "hop=0.4", "min_window=0.4"]
    audio, config = make_sound(cache, waves, RATE), FinetuneConfig(
        task="va", network="speech", option=options, weights="random"
    )  # fmt: skip
    done = finetune(cache, audio, tmp_path / "va.csv", config, Runtime(workers=1, progress=False), device="cpu")
    assert done.report["units"] == {"train": 3, "val": 2}
    line = (
        "1 of 3 clips is shorter than the least window of 0.4 s: the only window is kept, padded with zeros to 1 s (c)"
    )
    assert done.report["cautions"] == [line]
    assert done.artifact.stage.inputs["short_windows"] == 1  # not the training that left such clips out
