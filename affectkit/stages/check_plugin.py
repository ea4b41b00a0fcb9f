"""What `affectkit check-plugin` does: a plugin held to the contract of its group, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affectkit import plugins, tasks
from affectkit.config import Config
from affectkit.errors import UsageError
from affectkit.plugins.contracts import Candidate, Verdict, check
from affectkit.plugins.contracts.fusers import tried_tasks
from affectkit.plugins.faults import groups_like
from affectkit.plugins.registry import class_of
from affectkit.tasks import Task

_TASKS = {"heads": ("va", "compound"), "networks": ("va",), "datasets": ("va",)}


@dataclass(frozen=True)
class PluginCheck:
    """A plugin of a group, and what comes of each obligation, one after another as it is tried."""

    name: str
    group: str
    verdicts: Iterator[Verdict]
    notes: tuple[str, ...] = ()


def check_plugin(
    module: str, *, group: str | None = None, option: Sequence[str] = (), weights: str = "auto",
    root: Path | None = None, task: str | None = None,
) -> PluginCheck:  # fmt: skip
    """The contract of a plugin: a registered name, a module, or `FILE.py[:CLASS]`.

    `group` where that cannot be told from its methods; `option` and `weights` as for its stage; a reader is tried on
    the data set in `root`. A head, network or fuser is tried with tasks of several kinds, or with `task`. Raises
    UsageError.
    """
    plugin, registered = class_of(module)
    known = _group(plugin, [group] if group else list(registered), module)
    if not (isinstance(getattr(plugin, "Options", None), type) and issubclass(plugin.Options, Config)):
        return PluginCheck(
            module, known, check([Candidate(known, module, plugin, Config())])
        )  # ends with its first lines
    candidate = Candidate(known, module, plugin, plugins.parse_options(plugin, option, module), weights, root=root)
    notes: tuple[str, ...] = ()
    if known == "datasets" and root is None:
        notes = ("without --root DIR, where a data set of this layout lies, only half of the contract is looked at",)
    return PluginCheck(module, known, check(_with_tasks(candidate, task)), notes)


def _group(plugin: type[Any], said: list[str], module: str) -> str:
    """The group that was said, else the one that its methods are of."""
    found = said or groups_like(plugin)
    if not found or found[0] not in plugins.GROUPS:
        raise UsageError(f"{module}: {plugin.__name__} has the methods of no group; say which by --group "
                         f"({', '.join(plugins.GROUPS)})")  # fmt: skip
    return found[0]


def _with_tasks(candidate: Candidate, task: str | None) -> list[Candidate]:
    """The candidate for each task that it is tried with and takes; for those without a task, itself."""
    if candidate.group not in (*_TASKS, "fusers"):
        return [candidate]
    given: list[Task] = [tasks.get(task)] if task else _tasks(candidate)
    tried = [replace(candidate, task=one, kept={}) for one in given]
    taken = [one for one in tried if candidate.group == "datasets" or _takes(one)]
    return taken or tried[:1]


def _tasks(candidate: Candidate) -> list[Task]:
    if candidate.group == "fusers":
        return tried_tasks(candidate.plugin)
    own = getattr(candidate.plugin, "tasks", ()) if candidate.group == "datasets" else ()
    return [tasks.get(name) for name in own or _TASKS[candidate.group]]


def _takes(candidate: Candidate) -> bool:
    """Whether it takes the task: a plugin may refuse one by a UsageError."""
    try:
        candidate.make()
    except UsageError:
        return False
    except Exception:
        return True  # an obligation tells of it
    return True
