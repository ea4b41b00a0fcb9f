"""Tuning (`train-head --tune N`): a head's options, searched on the validation clips.

Every trial is a head fitted as `train-head` fits one, with the first seed only, and scored by its best validation
score. The study is an SQLite file in the cache, so an interrupted search goes on where it was: each trial is drawn from
the ones before it and its own number, not from the state of a process. Test clips take no part.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit import plugins, tasks
from affectkit.config import Runtime
from affectkit.devices import resolve
from affectkit.errors import MissingExtra, UsageError, unknown
from affectkit.plugins import Epoch, Monitor
from affectkit.progress import Display, display
from affectkit.stages.train_head import TrainConfig
from affectkit.stages.training_data import AuxiliarySource, HeadData, head_data
from affectkit.store import Cache, Features
from affectkit.tables.labels import Labels
from affectkit.tasks import Task

if TYPE_CHECKING:
    import optuna

VERSION = 1
STUDY_FILE = "study.db"
_PLACE, _OPTIONS, _CAUSE = "place", "options", "cause"  # what a trial says of itself
Fit = Callable[[Sequence[str], Monitor], float]


@dataclass(frozen=True)
class Tuned:
    """The config with the best options filled in; what was tried. `score` is the best of many on the same validation
    clips, so it is optimistic."""

    config: TrainConfig
    options: list[str]
    score: float
    trials: int
    pruned: int
    failed: int
    computed: int
    study: Path

    @property
    def report(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "options": self.options,
            "val": self.score,
            "optimistic": f"the best of {self.trials} trials on the same validation clips",
            "trials": {"all": self.trials, "pruned": self.pruned, "failed": self.failed, "now": self.computed},
            "study": str(self.study),
        }

    def lines(self) -> Iterator[str]:
        """What was tried and chosen, for people."""
        cut = f"{self.pruned} cut short, {self.failed} failed" if self.pruned or self.failed else "all in full"
        options = " ".join(f"-o {option}" for option in self.options)
        yield f"tuned over {self.trials} trials ({self.computed} now; {cut}): {options}"
        yield f"the best val score of these, {self.score:.4f}, was selected on the val clips, so it is optimistic"


def tune(
    cache: Cache, features: Sequence[Features], labels: Labels, config: TrainConfig, runtime: Runtime, *,
    trials: int, search: Sequence[str] = (), device: str = "auto", splits: Path | None = None,
    auxiliary: Sequence[AuxiliarySource] = (),
) -> Tuned:  # fmt: skip
    """Search until the study has `trials` trials, and return the best of the first that many.

    `search` are the texts of `space`; if all of them are lists, their product is gone through in order. Otherwise a
    tree-structured Parzen estimator draws each trial, and trials that are worse than the median at the same epoch are
    cut short. Raises MissingExtra without optuna, and UsageError where no trial could be trained.
    """
    optuna = _optuna()
    task = tasks.get(config.task)
    plugin = plugins.get("heads", config.head)
    fixed = plugins.parse_options(plugin, config.option, config.head)
    searched = space(plugin, config.head, task, config.option, search)
    grid = bool(search) and all(isinstance(one, Choices) for one in searched.values())
    data = head_data(features, labels, task, config, splits, auxiliary)
    inputs = {
        "stage": "tune",
        "version": VERSION,
        "task": task.model_dump(mode="json"),
        "head": plugins.identity(config.head, plugin, fixed),
        "search": [f"{key}={values}" for key, values in searched.items()],
        "grid": grid,
        "seed": config.seed,
        "label_pooling": config.label_pooling,
        "data": data.digest,
        "upstream": [one.identity for one in features],
        "auxiliary": [[one.features.identity, one.task.model_dump(mode="json")] for one in auxiliary],
    }
    path = cache.path("tune", config.head, inputs) / STUDY_FILE
    fit = _fitter(plugin, task, data, config, device)
    run = _Grid(searched) if grid else _Sampled(searched, config.seed)
    wanted = min(trials, run.most) if run.most else trials
    study = _open(path, task)
    before = len(run.finished(study))
    with _bar(f"tune {config.head}", wanted, runtime) as show:
        while len(done := run.finished(study)[:wanted]) < wanted:
            show(len(done), _best(done, study))
            run.step(study, fit)
    best = _best(done, study)
    if best is None:
        causes = [trial.user_attrs.get(_CAUSE, "") for trial in done]
        raise UsageError(f"--tune: none of {len(done)} trials could be trained; the last: {causes[-1]}")
    options = list(best.user_attrs[_OPTIONS])
    failed = sum(_CAUSE in trial.user_attrs for trial in done)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in done) - failed
    filled = config.model_copy(update={"option": [*config.option, *options]})
    return Tuned(filled, options, float(best.value), len(done), pruned, failed, max(0, len(done) - before), path)


class _Sampled:
    """Trials drawn one after another."""

    most: int | None = None

    def __init__(self, searched: Space, seed: int) -> None:
        self._space, self._seed = searched, seed

    def finished(self, study: optuna.Study) -> list[Any]:
        """In the order of their start; those of processes that were killed count for nothing."""
        return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in ("COMPLETE", "PRUNED")]

    def step(self, study: optuna.Study, fit: Fit) -> None:
        optuna = _optuna()
        number = len(self.finished(study))
        study.sampler = _sampler((self._seed + 7919 * number) % (1 << 32))
        trial = study.ask()
        options = typed({key: _draw(trial, key, values) for key, values in self._space.items()})
        trial.set_user_attr(_OPTIONS, options)

        seen: set[int] = set()

        def monitor(epoch: Epoch) -> None:
            if epoch.epoch in seen:  # of a head that is several: the later ones have nothing to be compared with
                return
            seen.add(epoch.epoch)
            trial.report(epoch.score, epoch.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            study.tell(trial, fit(options, monitor))
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except UsageError as error:  # options that do not go together, or that diverge
            trial.set_user_attr(_CAUSE, str(error))
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)


class _Grid:
    """Every combination of the values, once, in order; nothing is cut short, because each is asked for."""

    def __init__(self, searched: Space) -> None:
        self._space = {key: values for key, values in searched.items() if isinstance(values, Choices)}
        self.most = prod(len(values.values) for values in self._space.values())

    def finished(self, study: optuna.Study) -> list[Any]:
        places = {trial.user_attrs[_PLACE]: trial for trial in reversed(study.get_trials(deepcopy=False))}
        return [places[place] for place in itertools.takewhile(places.__contains__, itertools.count())]

    def step(self, study: optuna.Study, fit: Fit) -> None:
        optuna = _optuna()
        place = len(self.finished(study))
        combinations = itertools.product(*(values.values for values in self._space.values()))
        chosen = dict(zip(self._space, next(itertools.islice(combinations, place, None)), strict=True))
        options = typed(chosen)
        about: dict[str, Any] = {_PLACE: place, _OPTIONS: options}
        outcome: dict[str, Any] = {}
        try:
            outcome["value"] = fit(options, lambda epoch: None)
        except UsageError as error:
            outcome["state"] = optuna.trial.TrialState.PRUNED
            about[_CAUSE] = str(error)
        distributions = {
            key: optuna.distributions.CategoricalDistribution(values.values) for key, values in self._space.items()
        }
        study.add_trial(
            optuna.create_trial(params=chosen, distributions=distributions, user_attrs=about, **outcome)
        )  # fmt: skip


def _fitter(plugin: type[Any], task: Task, data: HeadData, config: TrainConfig, device: str) -> Fit:
    """From options to the best validation score of a head with them."""

    def fit(options: Sequence[str], monitor: Monitor) -> float:
        chosen = plugins.parse_options(plugin, [*config.option, *options], config.head)
        head = plugins.instance("heads", config.head, plugin, chosen, task)
        history = head.fit(
            data.train, data.val, seed=config.seed, device=resolve(device), monitor=monitor, auxiliary=data.auxiliary
        )
        return float(history[-1].best)

    return fit


def _sampler(seed: int) -> Any:
    """Draws by the trials that are finished, and by none that a killed process left open (`constant_liar`)."""
    optuna = _optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of optuna 4
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=False)


def _draw(trial: Any, key: str, values: Choices | Range) -> str:
    if isinstance(values, Choices):
        return str(trial.suggest_categorical(key, values.values))
    if values.whole:
        return values.text(trial.suggest_int(key, int(values.low), int(values.high), log=values.log))
    return values.text(trial.suggest_float(key, values.low, values.high, log=values.log))


def _best(done: Sequence[Any], study: optuna.Study) -> Any | None:
    """The best finished trial, the first of equals."""
    scored = [trial for trial in done if trial.state.name == "COMPLETE"]
    lower = study.direction.name == "MINIMIZE"
    return min(scored, key=lambda trial: trial.value if lower else -trial.value, default=None)


def _open(path: Path, task: Task) -> optuna.Study:
    """The study, made where there is none. Raises UsageError for a file that is no study."""
    optuna = _optuna()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return optuna.create_study(
            storage=optuna.storages.RDBStorage(
                f"sqlite:///{path.resolve()}", engine_kwargs={"connect_args": {"timeout": 60}}
            ),
            study_name="tune",
            direction="minimize" if task.metric == "mae" else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5),
            load_if_exists=True,
        )
    except (OSError, RuntimeError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"cannot use the study {path} ({why}): delete it to begin anew") from None


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("optuna", "tune", "train-head --tune") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextmanager
def _bar(what: str, total: int, runtime: Runtime) -> Iterator[Callable[[int, Any], None]]:
    """Shows trials done and the best score so far."""
    with display(what, runtime.progress) as shown:

        def show(done: int, best: Any) -> None:
            score = "" if best is None else f", best val {best.value:.4f}"
            shown.show(done / total, f"{done} of {total} trials{score}")

        yield show


EVERY = 0.5
"""Seconds between two looks at the loss: each waits for the device."""


class Watched:
    """Told of steps and epochs; has them shown."""

    def __init__(self, shown: Display, unit: str, epochs: int) -> None:
        self._shown, self._unit, self._epochs = shown, unit, epochs
        self._loss = self._rate = self._scores = ""
        self._looked, self._seen = time.monotonic(), 0

    def step(self, epoch: int, done: int, steps: int, units: int, loss: Any) -> None:
        """`Watch` of the engine."""
        if self._shown.silent:
            return
        self._seen += units
        now = time.monotonic()
        if done == 1:
            self._looked, self._seen = now, 0  # validation lies between
        elif now - self._looked >= EVERY or done == steps:
            self._loss = f", loss {float(loss):.3f}"
            self._rate = f", {self._seen / max(now - self._looked, 1e-9):,.0f} {self._unit}/s"
            self._looked, self._seen = now, 0
        share = ((epoch - 1) * steps + done) / (self._epochs * steps)
        self._shown.show(share, f"epoch {epoch} of {self._epochs}{self._loss}{self._scores}{self._rate}")

    def epoch(self, epoch: Epoch) -> None:
        """A `Monitor`."""
        self._scores = f", val {epoch.score:.3f}, best {epoch.best:.3f}"


@contextmanager
def watched(network: str, unit: str, epochs: int, show: bool | None) -> Iterator[Watched]:
    """A `Watched` of at most so many epochs."""
    with display(f"finetune {network}", show) as shown:
        shown.show(0.0, f"epoch 1 of {epochs}")
        yield Watched(shown, unit, epochs)


STRIDE_SHARE = "stride-share"
"""Searched beside `window`: the stride as a share of it."""

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("1e-5..1e-2:log",),
    "weight_decay": ("1e-6..1e-1:log",),
    "dropout": ("0..0.6",),
    "modality_dropout": ("0..0.5",),
    "batch_size": ("8,16,32,64",),
    "normalise": ("standard,min-max,per-clip-standard", "standard,power,canonical"),
    "window": ("2,4,8,16",),
    STRIDE_SHARE: ("0.25,0.5,1",),
    "layers": ("1..4",),
    "hidden": ("32,64,128,256",),
    "width": ("64,128,256",),
    "channels": ("32,64,128",),
    "kernel": ("linear,rbf", "3,5,7"),  # a kernel function, or a convolution's
    "gamma": ("1e-5..10:log",),
    "functionals": ("fun,all",),
    "estimator": ("ridge,linear-svm,random-forest",),
}
"""Of these, a head is tuned over the options that it has, each by the first text whose values it takes, unless
`--search` is given."""

_OVER_TIME = ("window", STRIDE_SHARE)  # tasks of one score a clip look at the whole clip


@dataclass(frozen=True)
class Choices:
    """One of some values, as they would be typed."""

    values: tuple[str, ...]

    @property
    def tried(self) -> tuple[str, ...]:
        return self.values

    def __str__(self) -> str:
        return ",".join(self.values)


@dataclass(frozen=True)
class Range:
    """A number from low to high, both included; `whole` for integers, `log` for sizes rather than amounts."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def tried(self) -> tuple[str, ...]:
        return self.text(self.low), self.text(self.high)

    def text(self, value: float) -> str:
        """A value as it would be typed: three digits say all there is to say, and are what is trained with."""
        if self.whole:
            return str(int(value))
        return f"{min(max(float(f'{value:.3g}'), self.low), self.high):.12g}"

    def __str__(self) -> str:
        low, high = (int(end) if self.whole else end for end in (self.low, self.high))
        return f"{low}..{high}" + (":log" if self.log else "")


Space = dict[str, Choices | Range]


def space(plugin: type[Any], head: str, task: Task, fixed: Sequence[str], search: Sequence[str]) -> Space:
    """What is searched: `search` (key=low..high[:log] or key=a,b,c) or, without it, the head's `DEFAULTS`.

    Options that `fixed` names are left alone. Raises UsageError: an option that the head does not have or that is
    fixed as well, values that it does not take, nothing left to search.
    """
    given = {item.partition("=")[0] for item in fixed}
    if not search:
        return _default(plugin, head, task, fixed, given)
    found: Space = {}
    for item in search:
        key, equals, spec = item.partition("=")
        if not equals or not spec:
            raise UsageError(f"--search {item} is neither key=low..high[:log] nor key=a,b,c")
        if key.partition(".")[0] not in (*plugin.Options.model_fields, STRIDE_SHARE):
            raise unknown(f"option of {head}", key, [*plugin.Options.model_fields, STRIDE_SHARE])
        if key in given or key in found:
            raise UsageError(
                f"--search {key}: -o {key}=... fixes it" if key in given else f"--search {key}: given twice"
            )
        found[key] = parse(key, spec)
        for value in found[key].tried if key != STRIDE_SHARE else ():
            plugins.parse_options(plugin, [*fixed, f"{key}={value}"], head)
    _check_shares(found)
    return found


def parse(key: str, spec: str) -> Choices | Range:
    """`low..high`, `low..high:log` (integers where both ends are) or `a,b,c`. Raises UsageError.

    >>> parse("layers", "1..4"), str(parse("dropout", "0,0.5"))
    (Range(low=1.0, high=4.0, log=False, whole=True), '0,0.5')
    """
    if ".." not in spec:
        values = tuple(dict.fromkeys(value.strip() for value in spec.split(",")))
        if not all(values):
            raise UsageError(f"--search {key}={spec} has an empty value")
        return Choices(values)
    text, colon, scale = spec.partition(":")
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UsageError(f"--search {key}={spec}: the ends of a range are numbers") from None
    log = scale == "log"
    if (colon and not log) or not (isfinite(ends[0]) and ends[0] < ends[1] < float("inf")) or (log and ends[0] <= 0):
        raise UsageError(
            f"--search {key}={spec} is not low..high with low < high, or low..high:log with 0 < low < high"
        )
    return Range(*ends, log, all(_is_whole(end) for end in (low, high)))


def typed(values: Mapping[str, str]) -> list[str]:
    """Chosen values as options of the head, key=value.

    >>> typed({"window": "8", "stride-share": "0.25", "layers": "2"})
    ['window=8', 'layers=2', 'stride=2']
    """
    found = [f"{key}={value}" for key, value in values.items() if key != STRIDE_SHARE]
    if STRIDE_SHARE in values:
        found.append(f"stride={float(values[STRIDE_SHARE]) * float(values['window']):.6g}")
    return found


def _default(plugin: type[Any], head: str, task: Task, fixed: Sequence[str], given: set[str]) -> Space:
    plain, set_ = (plugins.parse_options(plugin, options, head) for options in ([], fixed))
    given = given | {key for key in plugin.Options.model_fields if getattr(plain, key) != getattr(set_, key)}  # presets
    found: Space = {}
    for key, texts in DEFAULTS.items():
        if key in given or (task.level == "clip" and key in _OVER_TIME):
            continue
        for choices in (parse(key, text) for text in texts):
            if key == STRIDE_SHARE:
                fits = "window" in found and "stride" in plugin.Options.model_fields and "stride" not in given
            else:
                fits = key in plugin.Options.model_fields and _takes(plugin, head, fixed, key, choices.tried)
            if fits:
                found[key] = choices
                break
    if not found:
        raise UsageError(f"--tune: nothing of {head} is left to search; name options by --search key=...")
    return found


def _takes(plugin: type[Any], head: str, fixed: Sequence[str], key: str, values: Iterable[str]) -> bool:
    try:
        for value in values:
            plugins.parse_options(plugin, [*fixed, f"{key}={value}"], head)
    except UsageError:
        return False
    return True


def _check_shares(found: Space) -> None:
    if STRIDE_SHARE not in found:
        return
    window, shares = found.get("window"), found[STRIDE_SHARE]
    if window is None or not all(_is_number(value) for value in window.tried):
        raise UsageError(f"--search {STRIDE_SHARE} needs --search window=... in seconds beside it")
    if not all(_is_number(value) and 0 < float(value) <= 1 for value in shares.tried):
        raise UsageError(f"--search {STRIDE_SHARE}={shares}: a share of the window is above 0 and at most 1")


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
