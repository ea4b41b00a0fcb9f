"""Every head of the registry under one contract; the shared reading, windows and training; what is the heads' own."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from affectkit import metrics, plugins, tasks
from affectkit.errors import HostileFile, UsageError
from affectkit.learning import features, output_layer
from affectkit.learning import windows as windows_module
from affectkit.learning.features import gather
from affectkit.learning.normalise import Normaliser
from affectkit.learning.options import TrainingOptions
from affectkit.learning.saved_files import LARGEST_HEADER
from affectkit.learning.saved_head import FILES
from affectkit.plugins import Example, contracts
from affectkit.plugins.contracts.heads import DIM, OBLIGATIONS, SMALL, ignores_padding, planted, quiet, sequence
from affectkit.training.temporal_head import TemporalHead
from affectkit.types import FeatureSequence

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

HEADS = plugins.names("heads")
NETWORKS = [name for name in HEADS if hasattr(plugins.get("heads", name), "network")]
NARROW = {"window": 0.6, "stride": 0.2}
SETTINGS = {"kernel-elm": NARROW, "functionals": NARROW}  # one score a window: it can be no wider than what it follows


def make(name, task, **options):
    plugin = plugins.get("heads", name)
    known = {key: value for key, value in options.items() if key in plugin.Options.model_fields}
    return plugin(plugin.Options(**known), task)


@cache
def fitted(name, task_name):
    """A head after two epochs, for what does not need a good one."""
    task = tasks.get(task_name)
    head = make(name, task, **SMALL)
    head.fit(planted(task, 6, seed=1), planted(task, 3, seed=2), seed=0, device="cpu", monitor=quiet)
    return head


def both_levels(test):
    return pytest.mark.parametrize("name", HEADS)(pytest.mark.parametrize("task_name", ["va", "compound"])(test))


# ---- the contract of every head


def each_kind_of_task(test):
    """Every head at both levels; the kinds of labels, whose losses and outputs are shared, with one head in a run."""
    enough = {"va": 0.8, "expr": 0.8, "eri": 0.8, "compound": 0.6, "au": 0.8}
    quick = {(name, task) for name in HEADS for task in ("va", "compound")} | {("lstm", task) for task in enough}
    return pytest.mark.parametrize(
        ("name", "task_name", "enough"),
        [
            pytest.param(name, task, least, marks=() if (name, task) in quick else pytest.mark.slow)
            for name in HEADS
            for task, least in enough.items()
        ],
    )(test)


@each_kind_of_task
def test_learns_a_planted_signal(name, task_name, enough):
    full = tasks.get(task_name)
    task = full.model_copy(update={"targets": full.targets[:3]})
    settings = {"window": 2, "layers": 1, "hidden": 64, "epochs": 20, "batch_size": 8, "learning_rate": 5e-3}
    head = make(name, task, **(settings | {"dropout": 0.1} | SETTINGS.get(name, {})))
    clips = 25 if task.level == "time" else 60
    history = head.fit(planted(task, clips, 1), planted(task, 10, 2), seed=0, device="cpu", monitor=quiet)
    test = planted(task, 30, 3)
    scores = metrics.probabilities(task, np.concatenate(head.predict(test, device="cpu")))
    assert metrics.main(task, np.concatenate([example.labels for example in test]), scores) > enough
    assert len(history) == 1 or history[-1].loss < history[0].loss


@cache
def candidate(name, task_name):
    plugin = plugins.get("heads", name)
    return contracts.Candidate("heads", name, plugin, plugin.Options(), task=tasks.get(task_name))


@both_levels
@pytest.mark.parametrize("obligation", OBLIGATIONS, ids=contracts.sentence)
def test_contract(name, task_name, obligation):
    obligation(candidate(name, task_name))


@pytest.mark.parametrize("name", NETWORKS)  # of the others, those that draw something have tests of their own
def test_another_seed_gives_other_scores(name):
    task, test, runs = tasks.get("va"), planted(tasks.get("va"), 2, 3), []
    for seed in (0, 1):
        head = make(name, task, **SMALL)
        head.fit(planted(task, 6, 1), planted(task, 3, 2), seed=seed, device="cpu", monitor=quiet)
        runs.append(np.concatenate(head.predict(test, device="cpu")))
    assert not np.array_equal(*runs)


@both_levels
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_features_name_the_clip(name, task_name, bad):
    head, task = fitted(name, task_name), tasks.get(task_name)
    example = planted(task, 1, 3)[0]
    values = example.inputs[0].values.copy()
    values[3, 2] = bad
    broken = replace(example, clip="broken", inputs=(sequence(values),))
    with pytest.raises(UsageError, match="clip 'broken' has NaN or infinity"):
        head.predict([broken], device="cpu")
    with pytest.raises(UsageError, match="clip 'broken' has NaN or infinity"):
        make(name, task, **SMALL).fit([broken], [example], seed=0, device="cpu", monitor=quiet)


@both_levels
def test_bad_training_input_is_one_clear_line(name, task_name):
    task = tasks.get(task_name)
    good = planted(task, 2, 1)
    unlabelled = [replace(example, labels=np.full_like(example.labels, np.nan)) for example in good]
    wide = Example("wide", (sequence(np.zeros((5, DIM + 1))),), good[0].labels)
    short = replace(good[0], labels=np.concatenate([good[0].labels] * 2))

    def fit(train, val):
        make(name, task, **SMALL).fit(train, val, seed=0, device="cpu", monitor=quiet)

    for train, val, message in [
        ([], good, "the train split has no clips"),
        (good, [], "the val split has no clips"),
        (unlabelled, good, "the train split .* has no labelled row"),
        (good, unlabelled, "the val split .* has no labelled row"),
        ([good[0], wide], good, f"clip 'wide' has {DIM + 1} feature dimensions where {DIM}"),
        (good, [wide], f"clip 'wide' has {DIM + 1} feature dimensions where {DIM}"),
        ([short], good, "labels of clip 'clip0' are"),
    ]:
        if not val and not getattr(make(name, task, **SMALL), "selects", True):
            fit(train, val)  # it chooses nothing by validation, and needs none
            continue
        with pytest.raises(UsageError, match=message):
            fit(train, val)
    if task.kind == "multiclass":
        for wrong in (0.5, -1, task.outputs):
            with pytest.raises(UsageError, match="labels of clip 'clip0' hold a value other than"):
                fit([replace(good[0], labels=good[0].labels * 0 + wrong)], good)
    with pytest.raises(UsageError, match=f"where {DIM} are expected"):
        fitted(name, task_name).predict([wide], device="cpu")


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("field", "value"), [("kind", "regression"), ("level", "time"), ("targets", tuple("abcdefg"))])
def test_loading_for_another_task_is_refused(name, field, value, tmp_path):
    fitted(name, "compound").save(tmp_path)
    other = tasks.get("compound").model_copy(update={field: value, "name": "other"})
    with pytest.raises(UsageError, match="is not task other"):
        plugins.get("heads", name).load(tmp_path, other)


@pytest.mark.parametrize("name", HEADS)
def test_a_missing_head_is_a_usage_error(name, tmp_path):
    with pytest.raises(UsageError, match=r"holds no head \(head.json is missing"):
        plugins.get("heads", name).load(tmp_path, tasks.get("va"))
    with pytest.raises(RuntimeError, match="fit or load"):
        make(name, tasks.get("va")).predict([], device="cpu")


# ---- heads that are a torch network

NETWORKS = [name for name in HEADS if hasattr(plugins.get("heads", name), "network")]
SLIDING = [name for name in NETWORKS if plugins.get("heads", name).windows is TemporalHead.windows]


@pytest.mark.parametrize("name", SLIDING)
@pytest.mark.parametrize("task_name", ["va", "compound"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "causal": True, "norm": "pre", "layers": 2}])
def test_padding_cannot_change_a_network(name, task_name, training, options):
    task = tasks.get(task_name)
    net = make(name, task, dropout=0, **options).network(DIM, task.outputs).train(training)
    ignores_padding(net, task)


@pytest.mark.parametrize("name", SLIDING)
@pytest.mark.parametrize("policy", ["hold", "skip"])
def test_overlapping_windows_are_averaged(name, policy):
    """Against a plain loop over windows of 10 steps every 4, one at a time."""
    task = tasks.get("va")
    head = make(name, task, window=2, stride=0.8, epochs=1, missing=policy)
    head.fit(planted(task, 4, 1), planted(task, 2, 2), seed=0, device="cpu", monitor=quiet)
    values = planted(task, 1, 3, steps=(27, 28))[0].inputs[0].values
    valid = np.arange(27) != 6
    (scores,) = head.predict([Example("x", (sequence(values, valid),))], device="cpu")

    ready = (values - head.fitted.normaliser.shift) / head.fitted.normaliser.scale
    if policy == "hold":
        ready[6], rows = ready[5], np.arange(27)
    else:
        rows = np.flatnonzero(valid)
    ready = torch.tensor(ready[rows])
    total, count = np.zeros((len(rows), 2)), np.zeros((len(rows), 1))
    for start in sorted({*range(0, len(rows) - 10, 4), len(rows) - 10}):
        with torch.no_grad():
            window = head.fitted.network(ready[None, start : start + 10], torch.ones(1, 10, dtype=torch.bool))
        total[start : start + 10] += window[0].numpy()
        count[start : start + 10] += 1
    assert count.max() > 1
    np.testing.assert_allclose(scores[rows], total / count, atol=1e-6)
    assert np.isnan(scores[6]).all() == (policy == "skip")


@pytest.mark.parametrize("name", SLIDING)
def test_windows_of_a_clip_level_task_are_averaged(name):
    task = tasks.get("compound")
    head = fitted(name, "compound")
    example = planted(task, 1, 3, steps=(25, 26))[0]
    (scores,) = head.predict([example], device="cpu")
    ready = torch.tensor((example.inputs[0].values - head.fitted.normaliser.shift) / head.fitted.normaliser.scale)
    with torch.no_grad():
        each = [
            head.fitted.network(ready[None, s : s + 10], torch.ones(1, 10, dtype=torch.bool)) for s in (0, 5, 10, 15)
        ]
    np.testing.assert_allclose(scores, torch.cat(each).mean(dim=0).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_normaliser_knows_the_training_split_only(name):
    task = tasks.get("va")
    train, val = planted(task, 4, 1), planted(task, 2, 2)
    hidden = train[0].inputs[0]
    train[0] = replace(train[0], inputs=(replace(hidden, valid=np.arange(len(hidden)) > 2),))
    far = [replace(e, inputs=(sequence(e.inputs[0].values * 50 + 100),)) for e in val]
    head = make(name, task, **SMALL)
    head.fit(train, far, seed=0, device="cpu", monitor=quiet)
    rows = np.concatenate([e.inputs[0].values[e.inputs[0].valid] for e in train]).astype(np.float64)
    np.testing.assert_allclose(head.fitted.normaliser.shift, rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(head.fitted.normaliser.scale, rows.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("attention", "concat")])
def test_two_inputs_are_refused(name):
    example = planted(tasks.get("va"), 1, 1)[0]
    double = replace(example, inputs=example.inputs * 2)
    with pytest.raises(UsageError, match="takes one feature artifact; clip 'clip0' comes with 2"):
        make(name, tasks.get("va")).fit([double], [double], seed=0, device="cpu", monitor=quiet)
    with pytest.raises(UsageError, match="takes one feature artifact"):
        fitted(name, "va").predict([double], device="cpu")


@pytest.mark.gpu
@both_levels
def test_a_head_trained_on_the_gpu_agrees_on_the_cpu(name, task_name):
    task, test = tasks.get(task_name), planted(tasks.get(task_name), 4, 3)
    head = make(name, task, **SMALL)
    head.fit(planted(task, 6, 1), planted(task, 3, 2), seed=0, device="cuda", monitor=quiet)
    for there, here in zip(head.predict(test, device="cuda"), head.predict(test, device="cpu"), strict=True):
        np.testing.assert_allclose(there, here, atol=2e-3)


# ---- saved heads are untrusted


@pytest.fixture
def saved(tmp_path):
    fitted("lstm", "va").save(tmp_path)
    return tmp_path


def load(folder):
    return plugins.get("heads", "lstm").load(folder, tasks.get("va"))


def edit(folder, **changes):
    path = folder / FILES.header
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_pickle_is_not_loaded(saved):
    torch.save({"x": torch.zeros(1)}, saved / FILES.tensors)
    with pytest.raises(HostileFile, match="not a safetensors file"):
        load(saved)


@pytest.mark.parametrize("text", ["", "[1", "{}", "[" * 100_000, "\xff"])
def test_a_broken_header_is_refused(saved, text):
    (saved / FILES.header).write_bytes(text.encode("latin1"))
    with pytest.raises(HostileFile, match=r"head\.json"):
        load(saved)


def test_a_huge_header_is_not_read(saved):
    (saved / FILES.header).write_bytes(b" " * (LARGEST_HEADER + 1))
    with pytest.raises(HostileFile, match="too large for the header of a head"):
        load(saved)


def test_sizes_that_a_header_claims_take_no_memory(saved):
    options = json.loads((saved / FILES.header).read_text())["options"]
    edit(saved, options=options | {"hidden": 8192, "layers": 8})  # 17 GB, were they allocated
    with pytest.raises(HostileFile, match=r"does not fit head\.json"):
        load(saved)
    edit(saved, options=options, inputs=1 << 20)
    with pytest.raises(HostileFile, match="normaliser is not for"):
        load(saved)
    edit(saved, options=options | {"hidden": 10**9})
    with pytest.raises(UsageError, match="hidden"):
        load(saved)


def test_another_version_is_refused(saved):
    edit(saved, version=99)
    with pytest.raises(UsageError, match="version 99; this is version 1: train it again"):
        load(saved)


def test_missing_tensors_are_refused(saved):
    from safetensors.numpy import load_file, save_file

    tensors = load_file(saved / FILES.tensors)
    tensors.pop(next(name for name in tensors if name.startswith("network")))
    save_file(tensors, saved / FILES.tensors)
    with pytest.raises(HostileFile, match=r"does not fit head\.json"):
        load(saved)
    (saved / FILES.tensors).unlink()
    with pytest.raises(UsageError, match=r"head\.safetensors is missing"):
        load(saved)


# ---- SUN's transformer, ERI's LSTM


def reference_position(steps, width):
    """Vaswani et al. (2017), section 3.5, number by number."""
    table = np.zeros((steps, width))
    for t in range(steps):
        for i in range(0, width, 2):
            table[t, i] = np.sin(t / 10000 ** (i / width))
            table[t, i + 1] = np.cos(t / 10000 ** (i / width))
    return torch.tensor(table, dtype=torch.float32)


def test_the_preset_is_sun_v3():
    """Parameter count and forward pass against torch's own layers, put together from the facts."""
    from torch import nn

    width, steps = 256, 20
    net = make("transformer", tasks.get("va"), preset="sun-v3").network(width, 2).eval()
    layers = [nn.TransformerEncoderLayer(width, 8, width, 0.1, batch_first=True).eval() for _ in range(3)]
    norm, out = nn.BatchNorm1d(width).eval(), nn.Linear(width, 2)
    theirs = [norm, *layers, out]
    count = sum(p.numel() for module in theirs for p in module.parameters())
    assert sum(p.numel() for p in net.parameters()) == count == 1_188_354

    torch.manual_seed(0)
    for module in theirs:
        for parameter in module.parameters():  # torch starts norms at 1 and 0, which would hide a mix-up
            parameter.data += 0.1 * torch.randn_like(parameter)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    rename = {
        "attention_in": "self_attn.in_proj_", "attention_out": "self_attn.out_proj.",
        "feedforward_in": "linear1.", "feedforward_out": "linear2.", "norm1": "norm1.", "norm2": "norm2.",
    }  # fmt: skip
    state = {f"blocks.1.{key}": value for key, value in norm.state_dict().items() if "num_batches" not in key}
    for n, layer in enumerate(layers, start=2):
        for here, there in rename.items():
            for part in ("weight", "bias"):
                state[f"blocks.{n}.{here}.{part}"] = layer.state_dict()[f"{there}{part}"]
    state |= {f"blocks.6.{key}": value for key, value in out.state_dict().items()}
    net.load_state_dict(state)

    x = torch.randn(3, steps, width)
    mask = torch.arange(steps) < torch.tensor([20, 13, 1])[:, None]
    with torch.no_grad():
        y = norm(x.flatten(0, 1)).view_as(x)
        for layer in layers:
            y = layer(y + reference_position(steps, width), src_key_padding_mask=~mask)
        torch.testing.assert_close(net(x, mask)[mask], out(y)[mask], atol=2e-5, rtol=1e-4)


def test_transformer_width():
    task = tasks.get("va")
    with pytest.raises(UsageError, match="100 features cannot be shared by 8 attention heads: set option width=96"):
        make("transformer", task, preset="sun-v3").network(100, 2)
    assert make("transformer", task).network(100, 2).blocks[0].out_features == 256
    projected = make("transformer", task, width=32).network(100, 2)
    assert projected(torch.zeros(1, 4, 100), torch.ones(1, 4, dtype=torch.bool)).shape == (1, 4, 2)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_equals_torch_on_each_sequence_alone(kind, bidirectional):
    from affectkit.nets import layers as layers_module

    ours = layers_module.Recurrent(kind, 6, 5, 2, bidirectional)
    lengths = [7, 3, 1]
    x = torch.randn(3, 7, 6)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        states = ours(x, mask)
        last = layers_module.LastState(bidirectional)(states, mask)
        for row, n in enumerate(lengths):
            alone, final = ours.net(x[row : row + 1, :n])
            final = final[0] if kind == "lstm" else final  # [layers * directions, 1, 5]
            torch.testing.assert_close(states[row, :n], alone[0])
            top = torch.cat(list(final[-2:, 0])) if bidirectional else final[-1, 0]
            torch.testing.assert_close(last[row, 0], top)


def test_batch_norm_equals_torch_on_the_valid_steps():
    from affectkit.nets import layers as layers_module

    ours, theirs = layers_module.BatchNorm(6), torch.nn.BatchNorm1d(6)
    mask = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    for _ in range(3):
        x = torch.randn(3, 9, 6) * 3 + 1
        torch.testing.assert_close(ours(x, mask)[mask], theirs(x[mask]))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x, mask)[mask], theirs.eval()(x[mask]))


def test_sinusoid_of_an_odd_width():
    from affectkit.nets.layers import sinusoid

    torch.testing.assert_close(sinusoid(torch.zeros(1, 5, 8)), reference_position(5, 8))
    assert sinusoid(torch.zeros(1, 5, 7)).shape == (5, 7)


# ---- windows


def test_seconds_become_steps_by_the_median_hop():
    options = TrainingOptions(window=4)
    five = sequence(np.zeros((40, 1)))
    dropped = FeatureSequence(
        *(np.delete(part, [3, 4, 9], axis=0) for part in (five.start, five.end, five.values, five.valid))
    )
    assert windows_module.plan(options, "time", [dropped]) == windows_module.WindowPlan(20, 10)
    assert windows_module.plan(options, "clip", [sequence(np.zeros((40, 1)), fps=25)]) == windows_module.WindowPlan(
        100, 50
    )
    assert windows_module.plan(TrainingOptions(window=4, stride=1), "time", [five]) == windows_module.WindowPlan(20, 5)
    assert windows_module.plan(TrainingOptions(window=0.01), "time", [five]) == windows_module.WindowPlan(1, 1)
    assert windows_module.plan(TrainingOptions(), "time", [five]) == windows_module.WindowPlan(20, 10)
    assert windows_module.plan(TrainingOptions(), "clip", [five]).steps is None
    assert windows_module.plan(TrainingOptions(window="clip"), "time", [five]).steps is None


def test_a_clip_of_one_row_counts_by_its_length():
    assert windows_module.median_hop([sequence(np.zeros((1, 1)), fps=2)] * 3) == pytest.approx(0.5)
    assert windows_module.median_hop([]) == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": 2, "stride": 3}, "stride=3 is longer than window=2"),
        ({"window": "clip", "stride": 1}, "not the whole clip"),
    ],
)
def test_impossible_windows_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        windows_module.plan(TrainingOptions(**given), "time", [sequence(np.zeros((4, 1)))])


def test_window_options_from_the_command_line():
    plugin = plugins.get("heads", "transformer")
    assert plugins.parse_options(plugin, ["window=4", "stride=1.5"], "transformer").window == 4.0
    assert plugins.parse_options(plugin, ["window=clip"], "transformer").window == "clip"
    for wrong in ("window=0", "window=long", "patience=0", "epochs=x"):
        with pytest.raises(UsageError, match="options of transformer"):
            plugins.parse_options(plugin, [wrong], "transformer")


@pytest.mark.parametrize(("steps", "stride"), [(4, 2), (4, 3), (5, 5), (1, 1), (None, 1)])
def test_windows_cover_every_row_of_their_own_clip(steps, stride):
    counts = np.array([9, 0, 3, 4, 1])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    windows = windows_module.slide(offsets, steps, stride)
    owner = np.repeat(np.arange(5), counts)
    assert set(windows.rows) == set(range(17))
    for w in range(len(windows)):
        rows = windows.rows[windows.offsets[w] : windows.offsets[w + 1]]
        assert (owner[rows] == windows.clip[w]).all() and (np.diff(rows) == 1).all()
        assert len(rows) == (counts[windows.clip[w]] if steps is None else min(steps, counts[windows.clip[w]]))


def test_windows_can_be_chosen():
    windows = windows_module.slide(np.array([0, 5, 7]), steps=4, hop=2)
    marks = np.zeros(7, bool)
    marks[[0, 6]] = True
    assert windows.any(marks).tolist() == [True, False, True]
    kept = windows.where(windows.any(marks))
    assert kept.padded(np.arange(2), -1).tolist() == [[0, 1, 2, 3], [5, 6, -1, -1]]


def test_batches_hold_each_window_once_and_are_even():
    lengths = np.random.default_rng(0).integers(1, 30, size=203)
    batches = windows_module.shuffled(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(203))
    assert {len(batch) for batch in batches} == {15, 16}
    assert [b.tolist() for b in batches] == [
        b.tolist() for b in windows_module.shuffled(lengths, 16, np.random.default_rng(1))
    ]
    scoring = list(windows_module.by_length(lengths, budget=64))
    assert sorted(np.concatenate(scoring)) == list(range(203))
    assert all(len(b) * lengths[b].max() <= 64 for b in scoring)


# ---- missing rows, normalisation, outputs


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("hold", [1, 1, 1, 1, 5, 5]), ("interpolate", [1, 1, 2, 3, 5, 5]), ("zero", [0, 1, 0, 0, 5, 0])],
)
def test_missing_rows_are_filled(policy, expected):
    values = np.array([[7.0], [1], [7], [7], [5], [7]], np.float32)
    valid = np.array([0, 1, 0, 0, 1, 0], bool)
    time = np.array([0, 1, 2, 3, 5, 6.0])  # the gap is 4 s wide: a quarter and a half of it
    features.fill(values, valid, time, policy)
    assert values[:, 0].tolist() == expected
    assert features.kept(valid, policy).all() and not features.kept(valid & False, policy).any()


def test_skipped_rows_are_not_there():
    example = Example("x", (sequence([[1], [0], [3]], [1, 0, 1]),), np.array([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]))
    table = gather([example], tasks.get("va"), "skip")
    assert table.values[:, 0].tolist() == [1, 3, 0] and table.kept.tolist() == [0, 2]
    np.testing.assert_allclose(table.labels[:2, 0], [0.1, 0.3], atol=1e-7)
    assert table.labelled.tolist() == [True, True, False]


def test_float16_features_are_read_as_float32():
    example = Example("x", (replace(sequence(np.zeros((2, 1))), values=np.full((2, 1), 0.1, np.float16)),))
    assert gather([example], tasks.get("eri"), "hold").values.dtype == np.float32


def test_clips_without_rows_are_not_labelled():
    task = tasks.get("compound")
    blank = Example("blank", (sequence(np.zeros((3, 1)), np.zeros(3)),), np.array([[1.0]]))
    seen = Example("seen", (sequence(np.zeros((1, 1))),), np.array([[1.0]]))
    assert gather([blank, seen, blank], task, "hold").labelled.tolist() == [False, True, False]


def test_normaliser_merges_clips_exactly():
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(n, 3)) * 2 + 1e4 for n in (5, 0, 1, 40)]
    rows = np.concatenate(clips)
    fit = Normaliser.fit("standard", clips, 3)
    np.testing.assert_allclose(fit.shift, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fit.scale, rows.std(axis=0), rtol=1e-6)
    fit = Normaliser.fit("min-max", clips, 3)
    np.testing.assert_allclose(fit.shift, rows.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fit.scale, np.ptp(rows, axis=0), rtol=1e-4)


@pytest.mark.parametrize("kind", ["standard", "min-max", "per-clip-standard", "per-clip-min-max"])
def test_a_constant_dimension_becomes_zero(kind):
    values = np.full((50, 1), 0.1, np.float32)
    Normaliser.fit(kind, [values], 1).apply(values, np.ones(50, bool))
    np.testing.assert_allclose(values, 0, atol=1e-6)


def test_per_clip_scaling_uses_the_valid_rows_of_the_clip():
    values = np.array([[1.0], [3], [99]], np.float32)
    valid = np.array([1, 1, 0], bool)
    for kind, expected in [("per-clip-standard", [-1, 1]), ("per-clip-min-max", [0, 1]), ("none", [1, 3])]:
        own = values.copy()
        Normaliser.fit(kind, [np.full((4, 1), 7.0)], 1).apply(own, valid)
        np.testing.assert_allclose(own[valid, 0], expected, atol=1e-6)


def test_output_follows_the_range_of_the_labels():
    va, rng = tasks.get("va"), np.random.default_rng(0)
    unit = rng.random((9, 2))
    unit[3] = np.nan
    assert output_layer.choose("auto", va, unit) == "sigmoid"
    assert output_layer.choose("auto", va, unit * 2 - 1) == "tanh"
    assert output_layer.choose("auto", va, unit * 9) == "linear"
    assert output_layer.choose("tanh", va, unit) == "tanh"
    assert output_layer.choose("auto", tasks.get("expr"), unit) == "linear"
    with pytest.raises(UsageError, match="output=sigmoid cannot reach labels from"):
        output_layer.choose("sigmoid", va, unit * 2 - 1)
    with pytest.raises(UsageError, match="scores are logits"):
        output_layer.choose("tanh", tasks.get("expr"), unit)


def test_ratings_on_another_scale_are_learnt():
    va = tasks.get("va").model_copy(update={"name": "sam", "targets": ("pleasure", "energy"), "metric": "mae"})
    clips = [replace(example, labels=example.labels * 4 + 5) for example in planted(va, 12, 1)]
    head = make("lstm", va, window=4, epochs=15, learning_rate=5e-3, batch_size=4)
    history = head.fit(clips[:8], clips[8:], seed=0, device="cpu", monitor=quiet)
    assert head.fitted.outputs[0].activation == "linear"
    assert history[-1].best < 1.2  # of labels that deviate by 2.3 around 5


# ---- the training loop


def test_training_stops_early_and_keeps_the_best_weights():
    from affectkit.training.engine import Training, train
    from affectkit.training.losses import Goal
    from affectkit.training.parallel import alone
    from affectkit.training.window_table import WindowObjective, WindowTable

    task, val = tasks.get("va"), iter([0.1, 0.5, 0.3, 0.5, 0.2])
    table = gather(planted(task, 3, 1), task, "hold")
    data = WindowTable(table, windows_module.slide(table.offsets, 10, 5), "cpu")
    net = make("lstm", task).network(DIM, 2)
    states = []

    def monitor(epoch):
        states.append({k: v.clone() for k, v in net.state_dict().items()})

    goal = Goal(task, lambda scores, labels: scores.square().mean(), None, slice(None))
    objective = WindowObjective(goal, data, 16, np.random.default_rng(0))
    history = train(Training(
        net, [list(net.parameters())], [objective], lambda: next(val), objective.steps,
        TrainingOptions(patience=3, epochs=9), monitor, objective.rng, alone("cpu"), "ccc",
    ))  # fmt: skip
    assert [epoch.score for epoch in history] == [0.1, 0.5, 0.3, 0.5, 0.2]
    assert [epoch.best for epoch in history] == [0.1, 0.5, 0.5, 0.5, 0.5]
    assert all(torch.equal(value, states[1][name]) for name, value in net.state_dict().items())
    assert not torch.equal(net.state_dict()["blocks.0.weight"], states[-1]["blocks.0.weight"])


def test_diverging_training_says_so():
    task = tasks.get("compound")
    train = planted(task, 6, 1)
    loud = [replace(e, inputs=(sequence(e.inputs[0].values * 1e30),)) for e in train]
    head = make("transformer", task, normalise="none", epochs=3)
    with pytest.raises(UsageError, match=r"training diverged: lower option learning_rate=0\.0005"):
        head.fit(loud, loud, seed=0, device="cpu", monitor=quiet)


def test_learning_rate_warms_up_and_falls_like_a_cosine():
    from affectkit.training.loop import FINAL_RATE, cosine

    options = TrainingOptions(learning_rate=1.0, warmup_steps=9)
    rates = [cosine(step, 100, options) for step in range(100)]
    np.testing.assert_allclose(rates[:9], np.arange(1, 10) / 10)
    assert rates[9] == 1.0 and np.all(np.diff(rates[9:]) < 0)
    assert rates[-1] == pytest.approx(FINAL_RATE, abs=1e-3)
    assert cosine(0, 5, options) == 1.0  # too short for a warm-up


def test_padding_is_gathered_as_zeros_without_labels():
    from affectkit.training.window_table import WindowTable

    task = tasks.get("va")
    table = gather(planted(task, 2, 1, steps=(3, 4)) + planted(task, 1, 2, steps=(8, 9)), task, "hold")
    windows = windows_module.slide(table.offsets, 5, 5)
    batch = WindowTable(table, windows, "cpu").batch(np.arange(len(windows)))
    assert batch.mask.sum(dim=1).tolist() == [3, 3, 5, 5]
    assert (batch.x[~batch.mask] == 0).all() and batch.labels[~batch.mask].isnan().all()
    np.testing.assert_array_equal(batch.x[3], table.values[9:14])
