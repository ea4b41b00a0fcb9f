"""What fusers are worth on clips that they were not fitted on, by the number of validation clips: simulated models.

Each sample has three models of valence and arousal, or of four expressions, whose errors have a part that a clip
shares; in `alike` they are equally good, in `one` the first is good and the others nearly noise, in `mixed` each target
or class has another best. Fusers are fitted on the clips of one sample and scored on 400 others. Shown is the mean over
the samples of the task's metric, less that of the best single model (chosen on the same validation clips).
"""

from __future__ import annotations

import numpy as np
from _report import machine, options

from affectkit import metrics, plugins, tasks
from affectkit.tasks import Task

ROWS = 12
EXPR = Task(name="four", kind="multiclass", level="time", targets=tuple("abcd"), metric="macro-f1")
SKILL = {"alike": [[1, 1, 1, 1]] * 3, "one": [[1.3] * 4, [0.1] * 4, [0.1] * 4],
         "mixed": [[1.5, 0.5, 0.9, 0.9], [0.5, 1.5, 0.9, 0.9], [0.9, 0.9, 1.5, 0.5]]}  # fmt: skip
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def sample(task: Task, scene: str, clips: int, seed: int) -> Sample:
    """Scores [3,N,K], truth and the clip of each row."""
    rng = np.random.default_rng(seed)
    skill = np.array(SKILL[scene])[:, None, None, : task.outputs]
    shape = (clips, ROWS, task.outputs)
    noise = 0.8 * rng.normal(size=(3, clips, 1, task.outputs)) + 0.8 * rng.normal(size=(3, *shape))
    common = 0.5 * rng.normal(size=(1, clips, 1, task.outputs))
    if task.kind == "regression":
        truth = rng.normal(size=(clips, 1, task.outputs)) + 0.5 * rng.normal(size=shape)
        scores = 0.6 * (skill * truth + noise + common)
        return scores.reshape(3, -1, task.outputs), truth.reshape(-1, task.outputs), np.repeat(np.arange(clips), ROWS)
    own = rng.integers(task.outputs, size=(clips, 1)) * np.ones((1, ROWS), int)
    logits = 2 * skill * np.eye(task.outputs)[own] + noise + common
    powers = np.exp(logits)
    scores = (powers / powers.sum(axis=-1, keepdims=True)).reshape(3, -1, task.outputs)
    return scores, own.reshape(-1, 1).astype(float), np.repeat(np.arange(clips), ROWS)


def one(task: Task, scene: str, clips: int, unseen: int, seed: int) -> dict[str, float]:
    """The score on unseen clips of each way to fuse."""
    scores, truth, groups = sample(task, scene, clips, seed)
    far, far_truth, _ = sample(task, scene, unseen, seed + 10_000)
    found = {}
    for name, chosen in {
        "best-single": [], "equal": [], "dwf": ["shrink=0"], "dwf shrunk": [], "nnls": ["shrink=0"],
        "nnls shrunk": [], "stacking": ["shrink=0"], "stacking shrunk": [], "auto": [],
        "auto, plain best": ["rule=best"],
    }.items():  # fmt: skip
        method = name.replace(",", "").split()[0]
        plugin = plugins.get("fusers", method)
        fuser = plugin(plugins.parse_options(plugin, chosen, method), task)
        fuser.fit(scores, truth, groups, seed=0)
        found[name] = metrics.main(task, far_truth, fuser.combine(far))
    return found


def main() -> None:
    parser = options(__doc__, quick={"samples": 4, "clips": [6, 12]}, smoke={"samples": 1, "clips": [6], "unseen": 20})
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--clips", type=int, nargs="*", default=[6, 12, 24, 48])
    parser.add_argument("--unseen", type=int, default=400, help="clips that are scored")
    given = parser.parse_args()
    for task in (tasks.get("va"), EXPR):
        for clips in given.clips:
            for scene in SKILL:
                runs = [one(task, scene, clips, given.unseen, seed) for seed in range(given.samples)]
                base = np.array([run["best-single"] for run in runs])
                gaps = {name: np.array([run[name] for run in runs]) - base for name in runs[0] if name != "best-single"}
                print(f"{task.name}, {clips} clips, {scene}: best single {base.mean():.3f}")
                said = (f"{name} {gap.mean():+.3f} ({(gap < -1e-9).mean():.0%})" for name, gap in gaps.items())
                print("   " + "  ".join(said), flush=True)
    print("in brackets: of how many samples the fusion is below the best single model")
    print(machine())


if __name__ == "__main__":
    main()
