"""The networks: published sizes, torch's own layers with the same weights, and a planted signal that is all order."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from affectkit import metrics, plugins, tasks
from affectkit.errors import UsageError
from affectkit.learning import options as options_module
from affectkit.plugins import Epoch, Example
from affectkit.types import FeatureSequence

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
nn = torch.nn
VA, COMPOUND = tasks.get("va"), tasks.get("compound")


def head(name, task=VA, **options):
    plugin = plugins.get("heads", name)
    return plugin(plugins.parse_options(plugin, [f"{key}={value}" for key, value in options.items()], name), task)


def parameters(*modules) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def shaken(*modules):
    """In eval, with every number moved: torch starts norms at 1 and 0, which would hide a mix-up."""
    torch.manual_seed(0)
    for module in modules:
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        for name, buffer in module.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2)
        module.eval()
    return modules


def padded(width, steps=20, lengths=(20, 13, 1)):
    """x [3,T,D] with noise on its padding too, and the mask [3,T]."""
    return torch.randn(len(lengths), steps, width), torch.arange(steps) < torch.tensor(lengths)[:, None]


def agree(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# ---- presets


PUBLISHED = {
    ("transformer", "sun-v1"): ([8, 8, 8, 8, 4, 4], False),
    ("transformer", "sun-v2"): ([8, 8, 8, 8, 4, 4], True),
    ("transformer", "sun-v3"): ([8, 8, 8], True),
    ("transformer", "sun-v5"): ([8], False),
    ("transformer", "sun-audio-v2"): ([32, 16], False),
    ("transformer", "sun-audio-v3"): ([32, 16], False),
}


@pytest.mark.parametrize(
    ("name", "preset"), [(name, p) for name, group in options_module.PRESETS.items() for p in group]
)
def test_a_preset_is_saved_as_its_values_and_loads_again(name, preset, tmp_path):
    rng = np.random.default_rng(0)
    start = np.arange(8) / 5
    clips = [
        Example(str(c), (FeatureSequence(start, start + 0.2, rng.normal(size=(8, 32)), np.ones(8, bool)),),
                rng.uniform(-1, 1, size=(8, 2)))
        for c in range(3)
    ]  # fmt: skip
    made = head(name, preset=preset.removeprefix("sun-"), epochs=1, window="clip")
    made.fit(clips[:2], clips[2:], seed=0, device="cpu", monitor=lambda epoch: None)
    made.save(tmp_path)
    loaded = type(made).load(tmp_path, VA)
    assert loaded.options == made.options and loaded.options.preset == preset
    np.testing.assert_array_equal(loaded.predict(clips, device="cpu")[0], made.predict(clips, device="cpu")[0])


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_transformer_presets_build_what_they_say(name, preset):
    heads, batch_norm = PUBLISHED[name, preset]
    net = head(name, preset=preset).network(64, 2)
    found = [block.heads for block in net.blocks if type(block).__name__ == "EncoderLayer"]
    assert found == heads
    assert any(type(block).__name__ == "BatchNorm" for block in net.blocks) == batch_norm
    layers = [nn.TransformerEncoderLayer(64, h, 64, batch_first=True) for h in heads]
    theirs = [*layers, *([nn.BatchNorm1d(64)] if batch_norm else []), nn.Linear(64, 2)]
    assert parameters(net) == parameters(*theirs)


def test_what_is_given_wins_over_the_preset():
    described = plugins.describe(head("transformer", preset="v1", heads="4,2", layers=2, dropout=0.3).options)
    assert (described["preset"], described["layers"], described["heads"]) == ("sun-v1", 2, "4,2")
    assert described["dropout"] == 0.3 and described["batch_norm"] is False
    assert plugins.describe(head("transformer").options) == plugins.describe(head("transformer", preset="none").options)
    sun = head("transformer", preset="v3").options
    assert (sun.norm, sun.width, sun.learning_rate) == ("post", None, 1e-3)
    assert head("gru", preset="audio-v1", layers=1).options.dropout == 0.5
    assert plugins.get("heads", "transformer").Options(heads=4).heads_of_layers == [4, 4, 4]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("transformer", {"preset": "v4"}, "preset=v4 is a gru: --head gru -o preset=sun-v4"),
        ("gru", {"preset": "sun-v3"}, "preset=sun-v3 is a transformer: --head transformer -o preset=sun-v3"),
        ("gru", {"preset": "v9"}, "preset=v9 is none of sun-v4, sun-audio-v1"),
        ("transformer", {"preset": "v1", "layers": 3}, "heads=8,8,8,8,4,4 are for 6 layers, not 3: set layers=6"),
        ("transformer", {"heads": "8,x,4"}, "give a number from 1 to 128, or one for each layer"),
        ("transformer", {"heads": "0"}, "give a number from 1 to 128"),
        ("transformer", {"norm": "none"}, "'post' or 'pre'"),
        ("tcn", {"kernel": 1}, "kernel"),
    ],
)
def test_options_that_cannot_be_are_refused(name, options, message):
    with pytest.raises(UsageError, match=f"options of {name}") as caught:
        head(name, **options)
    assert message in str(caught.value)


# ---- transformers against torch.nn.TransformerEncoderLayer


def copied(net, layers, norm, last, out):
    """Put the weights of torch's modules into the blocks of our network, in their order."""
    names = {
        "attention_in.": "self_attn.in_proj_", "attention_out.": "self_attn.out_proj.",
        "feedforward_in.": "linear1.", "feedforward_out.": "linear2.", "norm1.": "norm1.", "norm2.": "norm2.",
    }  # fmt: skip
    theirs = iter([*([norm] if norm else []), *layers, *([last] if last else []), out])
    for block in net.blocks:
        if not list(block.parameters()):
            continue
        module = next(theirs)
        state = module.state_dict()
        if isinstance(module, nn.TransformerEncoderLayer):
            state = {f"{a}{p}": state[f"{b}{p}"] for a, b in names.items() for p in ("weight", "bias")}
        block.load_state_dict({key: value for key, value in state.items() if "num_batches" not in key})
    assert not list(theirs)


def positions(steps, width):
    """Vaswani et al. (2017), section 3.5, number by number."""
    table = np.zeros((steps, width))
    for t in range(steps):
        for i in range(0, width, 2):
            table[t, i] = np.sin(t / 10000 ** (i / width))
            table[t, i + 1] = np.cos(t / 10000 ** (i / width))
    return torch.tensor(table, dtype=torch.float32)


@pytest.mark.parametrize("task", [VA, COMPOUND], ids=["time", "clip"])
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("preset", ["sun-v1", "sun-v2", "sun-v3", "sun-v5", "sun-audio-v2"])
def test_transformer_equals_torchs_encoder(preset, norm, task):
    """With a position added before every layer, on padded windows, in eval."""
    heads, batch_norm = PUBLISHED["transformer", preset]
    width, pre = 64, norm == "pre"
    layers = [nn.TransformerEncoderLayer(width, h, width, batch_first=True, norm_first=pre) for h in heads]
    first, last = (nn.BatchNorm1d(width) if batch_norm else None), (nn.LayerNorm(width) if pre else None)
    out = nn.Linear(width, task.outputs)
    shaken(*filter(None, [first, *layers, last, out]))
    net = head("transformer", task, preset=preset, norm=norm).network(width, task.outputs).eval()
    copied(net, layers, first, last, out)

    x, mask = padded(width)
    with torch.no_grad():
        y = first(x.flatten(0, 1)).view_as(x) if first else x
        for layer in layers:
            y = layer(y + positions(20, width), src_key_padding_mask=~mask)
        y = last(y) if last else y
        if task.level == "clip":
            expected = torch.stack([out(row[there].mean(dim=0)) for row, there in zip(y, mask, strict=True)])
            agree(net(x, mask)[:, 0], expected)
        else:
            agree(net(x, mask)[mask], out(y)[mask])


# ---- recurrent networks against torch.nn.GRU and torch.nn.LSTM


def test_sun_v4_and_the_first_audio_model_in_size():
    v4 = head("gru").network(256, 2)
    assert parameters(v4) == parameters(nn.GRU(256, 256, 2), nn.Linear(256, 2)) == 790_018
    assert v4.blocks[0].net.dropout == 0.1
    audio = head("gru", preset="audio-v1").network(1024, 8)
    assert parameters(audio) == parameters(nn.GRU(1024, 256, 2), nn.Linear(256, 8)) == 1_381_384
    assert audio.blocks[0].net.dropout == 0.5
    assert head("gru", bidirectional=True, layers=1).network(8, 2).blocks[0].net.dropout == 0  # torch would warn


@pytest.mark.parametrize("task", [VA, COMPOUND], ids=["time", "clip"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_gru_equals_torch_on_each_sequence_alone(task, bidirectional, layers):
    gru = nn.GRU(24, 16, layers, batch_first=True, bidirectional=bidirectional)
    out = nn.Linear(32 if bidirectional else 16, task.outputs)
    shaken(gru, out)
    net = head("gru", task, hidden=16, layers=layers, bidirectional=bidirectional).network(24, task.outputs).eval()
    net.blocks[0].net.load_state_dict(gru.state_dict())
    net.blocks[2].load_state_dict(out.state_dict())
    x, mask = padded(24)
    with torch.no_grad():
        found = net(x, mask)
        for row, there in enumerate(mask):
            states, final = gru(x[row : row + 1, there])
            last = torch.cat(list(final[-2:, 0])) if bidirectional else final[-1, 0]
            agree(found[row, 0] if task.level == "clip" else found[row, there],
                  out(last) if task.level == "clip" else out(states[0]))  # fmt: skip


def test_lstm_equals_torch_and_drops_between_its_layers():
    lstm, into, hidden, out = nn.LSTM(8, 8, 3, batch_first=True), nn.Linear(24, 8), nn.Linear(8, 8), nn.Linear(8, 7)
    shaken(lstm, into, hidden, out)
    net = head("lstm", COMPOUND, hidden=8, layers=3, layer_dropout=0.2).network(24, 7).eval()
    assert net.blocks[1].net.dropout == 0.2
    for n, module in {0: into, 3: hidden, 6: out}.items():
        net.blocks[n].load_state_dict(module.state_dict())
    net.blocks[1].net.load_state_dict(lstm.state_dict())
    x, mask = padded(24)
    with torch.no_grad():
        for row, there in enumerate(mask):
            final = lstm(into(x[row : row + 1, there]))[1][0][-1]
            agree(net(x, mask)[row], out(torch.relu(hidden(final))))


# ---- convolutions against torch.nn.Conv1d


@pytest.mark.parametrize("task", [VA, COMPOUND], ids=["time", "clip"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", [3, 5])
def test_tcn_equals_torchs_convolutions(task, causal, kernel):
    """Residual blocks put together from torch's layers, on each sequence alone, without padding."""
    net = head("tcn", task, channels=12, layers=3, kernel=kernel, causal=causal).network(8, task.outputs)
    shaken(net)
    x, mask = padded(8)

    def convolve(ours, y, dilation):
        reach = (kernel - 1) * dilation
        conv = nn.Conv1d(*ours.weight.shape[1::-1], kernel, dilation=dilation, padding=reach if causal else reach // 2)
        conv.load_state_dict(ours.state_dict())
        return conv(y.T[None])[0, :, : len(y)].T  # causal: padded on both sides, the right one cut off

    def block(ours, y, dilation):
        hidden = torch.relu(ours.norm1(convolve(ours.conv1, y, dilation)))
        hidden = torch.relu(ours.norm2(convolve(ours.conv2, hidden, dilation)))
        return torch.relu(hidden + ours.shortcut(y))

    with torch.no_grad():
        found = net(x, mask)
        for row, there in enumerate(mask):
            y = x[row, there]
            for n in range(3):
                y = block(net.blocks[n], y, 2**n)
            if task.level == "clip":
                agree(found[row, 0], net.blocks[-1](y[-1] if causal else y.mean(dim=0)))
            else:
                agree(found[row, there], net.blocks[-1](y))


@pytest.mark.parametrize(("causal", "kernel"), [(False, 3), (True, 3), (False, 2)])
def test_tcn_sees_the_steps_it_says(causal, kernel):
    """Which inputs have a gradient at one output: 2 (kernel - 1) (2^L - 1) steps, and none later when causal."""
    net = head("tcn", channels=16, layers=3, kernel=kernel, causal=causal).network(4, 2)
    shaken(net)
    x = torch.randn(1, 81, 4, requires_grad=True)
    net(x, torch.ones(1, 81, dtype=torch.bool))[0, 40].sum().backward()
    seen = x.grad[0].abs().sum(dim=1).nonzero().flatten().tolist()
    reach = 2 * (kernel - 1) * (2**3 - 1)
    assert seen[-1] - seen[0] == reach
    assert seen[-1] == 40 if causal else seen[0] < 40 < seen[-1]


# ---- pooling


@pytest.mark.parametrize("pool", ["MeanPool", "MaxPool"])
def test_pooling_is_that_of_each_sequence_alone(pool):
    from affectkit.nets import layers

    x, mask = padded(8)
    x[~mask] = torch.tensor(1e6)
    x.requires_grad_()
    found = getattr(layers, pool)()(x, mask)
    expected = [row[there].mean(dim=0) if pool == "MeanPool" else row[there].amax(dim=0)
                for row, there in zip(x, mask, strict=True)]  # fmt: skip
    agree(found[:, 0].detach(), torch.stack(expected).detach())
    found.sum().backward()
    assert torch.isfinite(x.grad).all() and (x.grad[~mask] == 0).all()
    nothing = getattr(layers, pool)()(x.detach(), torch.zeros_like(mask))
    assert (nothing == 0).all()


# ---- the baseline without context


def test_mlp_is_two_layers_at_every_step_and_their_mean():
    net = shaken(head("mlp", hidden=12).network(8, 2))[0]
    assert parameters(net) == parameters(nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 2))
    x, mask = padded(8)
    first, second, out = (block for block in net.blocks if isinstance(block, nn.Linear))
    with torch.no_grad():
        expected = out(torch.relu(second(torch.relu(first(x)))))
        agree(net(x, mask), expected)
        clip = head("mlp", COMPOUND, hidden=12).network(8, 2).eval()
        for ours, theirs in zip(clip.parameters(), net.parameters(), strict=True):
            ours.data = theirs.data
        means = torch.stack([row[there].mean(dim=0) for row, there in zip(expected, mask, strict=True)])
        agree(clip(x, mask)[:, 0], means)


# ---- a planted signal of order

EVENT = 16  # steps from the start of the first half wave to the end of the second
CURVE = np.sin(2 * np.pi * (np.arange(EVENT) + 0.5) / EVENT)
MIX = np.array([0.5, -0.5, 0.5, 0.5])  # of unit length
ORDER = COMPOUND.model_copy(update={"targets": COMPOUND.targets[:2], "metric": "war"})
CHANCE = 0.5
TRAINING = {"epochs": 20, "batch_size": 32, "learning_rate": 0.01, "patience": 8, "normalise": "none"}
KNOW_ORDER = {
    "lstm": {"hidden": 16, "dropout": 0.1},
    "gru": {"hidden": 16, "layers": 1},
    "transformer": {"width": 16, "heads": 2, "layers": 2},
    "tcn": {"channels": 12, "layers": 3},
}
IN_EVERY_RUN = ("lstm", "transformer")


def ordered(clips: int, seed: int) -> list[Example]:
    """A wave of 16 steps somewhere in 20 to 28 steps of unit noise, up and then down (class 0) or down and then up.

    One class is the other backwards, with the same mean and distribution, and but for its ends the wave goes through
    (value, slope) the same way round in both, half a period apart. Only which half came first tells them apart.
    """
    rng = np.random.default_rng(seed)
    examples = []
    for c in range(clips):
        steps = int(rng.integers(20, 29))
        values = rng.normal(size=(steps, len(MIX)))
        onset = int(rng.integers(0, steps - EVENT + 1))
        values[onset : onset + EVENT] += (1 - 2 * (c % 2)) * np.outer(CURVE, MIX)
        start = np.arange(steps) / 5
        shown = FeatureSequence(start, start + 0.2, values.astype(np.float32), np.ones(steps, bool))
        examples.append(Example(f"clip{c}", (shown,), np.array([[float(c % 2)]])))
    return examples


def backwards(example: Example) -> Example:
    (shown,) = example.inputs
    return Example(f"{example.clip}-backwards", (replace(shown, values=shown.values[::-1].copy()),), 1 - example.labels)


@cache
def unseen() -> list[Example]:
    """Test clips, each with itself backwards, which is of the other class: who does not see order is right on half."""
    forwards = ordered(200, 3)
    return [*forwards, *map(backwards, forwards)]


def truth() -> np.ndarray:
    return np.concatenate([example.labels for example in unseen()])


@cache
def ceiling() -> float:
    """Accuracy of the Bayes decision: it knows the wave and the noise, and sums the likelihood over the onsets."""
    scores = []
    for example in unseen():
        match = np.correlate(example.inputs[0].values @ MIX, CURVE, "valid")  # log-likelihoods but for a constant
        scores.append([np.logaddexp.reduce(match), np.logaddexp.reduce(-match)])
    return metrics.main(ORDER, truth(), metrics.probabilities(ORDER, np.array(scores)))


def accuracy(name: str, **options) -> float:
    """On the test clips, after training on others."""

    def quiet(epoch: Epoch) -> None:
        pass

    trained = head(name, ORDER, **(TRAINING | options))
    trained.fit(ordered(400, 1), ordered(200, 2), seed=0, device="cpu", monitor=quiet)
    scores = np.concatenate(trained.predict(unseen(), device="cpu"))
    return metrics.main(ORDER, truth(), metrics.probabilities(ORDER, scores))


def share_of_the_ceiling(score: float) -> float:
    """0 at chance, 1 at the best that anybody can do."""
    return (score - CHANCE) / (ceiling() - CHANCE)


def test_the_planted_order_is_neither_hidden_nor_plain():
    assert 0.9 < ceiling() < 0.99
    classes = [np.concatenate([e.inputs[0].values @ MIX for e in unseen() if e.labels[0, 0] == c]) for c in (0, 1)]
    np.testing.assert_array_equal(*map(np.sort, classes))  # the same numbers, in another order


@pytest.mark.parametrize(
    "name", [name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.slow) for name in KNOW_ORDER]
)
def test_temporal_heads_find_a_planted_order(name):
    assert share_of_the_ceiling(accuracy(name, **KNOW_ORDER[name])) > 0.7


def test_without_context_a_planted_order_cannot_be_found():
    assert abs(share_of_the_ceiling(accuracy("mlp", hidden=32, epochs=6))) < 0.05


@pytest.mark.slow
def test_neighbouring_steps_do_not_give_the_planted_order_away():
    """An LSTM that sees two steps at a time; its scores are averaged over the clip."""
    settings = KNOW_ORDER["lstm"] | {"window": 0.4, "stride": 0.2, "epochs": 4, "batch_size": 128}
    assert share_of_the_ceiling(accuracy("lstm", **settings)) < 0.2
