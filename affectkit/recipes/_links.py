"""Which steps a step names, whether they make what it takes, and in which order all of them run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from affectkit import plugins
from affectkit.errors import unknown
from affectkit.recipes._lines import Key
from affectkit.recipes.draft import Draft
from affectkit.recipes.steps import Ref, is_either, settings_of
from affectkit.stages import inputs as what
from affectkit.stages.inputs import WORDS, Makes
from affectkit.stages.stage import Stage

Named = tuple[Key, Ref, tuple[Makes, ...]]
"""Where a step is named, the step, and what it must make."""


@dataclass(frozen=True, repr=False)
class Link:
    """A step's inputs, and what else it names: (key, step, what that must make).

    sees: what its plugin reads, crops or sound; None where that is not known, or it reads neither; has_model: whether
    it names a published model.
    """

    name: str
    stage: Stage
    inputs: tuple[Ref, ...]
    others: tuple[Named, ...]
    sees: Makes | None = None
    has_model: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps that come first, in the order they are named."""
        return tuple(dict.fromkeys([*(one.step for one in self.inputs), *(ref.step for _, ref, _ in self.others)]))


def link_of(draft: Draft, name: str, stage: Stage, table: Mapping[str, Any], sees: Makes | None) -> Link:
    """The names in a step's table; problems for what is no name."""
    key = ("steps", name)
    given = table.get("from", [])
    items = given if isinstance(given, list) else [given]
    inputs = [Ref.of(one) for one in items if isinstance(one, str) and one]
    if len(inputs) < len(items):
        draft.problem([*key, "from"], "from names a step, or a list of steps")
    for one in dict.fromkeys(one for one in inputs if inputs.count(one) > 1):
        draft.problem([*key, "from"], f"from names {one} twice")
    others: list[Named] = []
    for needed in stage.inputs:
        if isinstance(needed, what.AuxiliaryInput) and isinstance(table.get(needed.name), list):
            for number, along in enumerate(table[needed.name]):
                if isinstance(along, dict) and isinstance(along.get("from"), str):
                    others.append(((*key, needed.name, str(number), "from"), Ref.of(along["from"]), needed.makes))
        elif isinstance(needed, what.ArtifactsInput) and needed.option and needed.or_model:
            others += _models(draft, key, needed, table.get(needed.name))
        elif (
            isinstance(needed, what.ArtifactsInput)
            and needed.option
            and isinstance(step := table.get(needed.name), str)
            and (step.startswith("@") or not is_either(needed))
        ):
            named = step[1:] if is_either(needed) else step
            ref = Ref.of(named) if "features" in needed.makes else Ref(named)
            others.append(((*key, needed.name), ref, needed.makes))
    weights = table.get("weights")
    if isinstance(weights, str) and weights.startswith("@") and "weights" in settings_of(stage):
        others.append(((*key, "weights"), Ref(weights[1:]), ("network",)))
    in_place = any(position.or_model for position in stage.positions)
    has_model = in_place and isinstance(table.get("model"), str)
    return Link(name, stage, tuple(inputs), tuple(others), sees, has_model)


def _models(draft: Draft, key: Key, needed: what.ArtifactsInput, value: Any) -> list[Named]:
    """The steps among models that are named; a problem for a name that is neither a step nor a published model."""
    steps: list[Named] = []
    for text in value if isinstance(value, list) else [value] if isinstance(value, str) else []:
        if text in draft.steps:
            steps.append(((*key, needed.name), Ref(text), needed.makes))
        elif not (isinstance(text, str) and plugins.names_model(text)):
            accepted = [*draft.steps, *plugins.names("models")]
            draft.problem([*key, needed.name], str(unknown("model or step", str(text), accepted)))
    return steps


def check(draft: Draft, links: Mapping[str, Link]) -> set[str]:
    """Note inputs that are no steps, or of a sort that the stage does not take; returns the steps that have such."""
    wrong = set()
    for link in links.values():
        before = len(draft.problems)
        for number, ref in enumerate(link.inputs):
            _known(draft, ("steps", link.name, "from", str(number)), ref)
        for key, ref, wanted in link.others:
            if _known(draft, key, ref) and ref.step in links and links[ref.step].stage.makes not in wanted:
                needed = " or ".join(WORDS[one] for one in wanted)
                draft.problem(key, f"{needed} needed; {ref.step} makes {WORDS[links[ref.step].stage.makes]}")
        given = [links[one.step].stage.makes for one in link.inputs if one.step in links]
        if len(given) == len(link.inputs):
            _check_sorts(draft, link, given)
            _check_head(draft, link, links)
        if len(draft.problems) > before:
            wrong.add(link.name)
    return wrong


def order(draft: Draft, links: Mapping[str, Link]) -> list[str]:
    """Names so that every step comes after those it needs, else in the recipe's order; a problem for a cycle."""
    found: list[str] = []
    left = list(links)
    while left:
        ready = next((one for one in left if not any(name in left for name in links[one].needs)), None)
        if ready is None:
            cycle = _cycle(links, left)
            draft.problem(["steps", cycle[0], "from"], f"steps wait for each other: {' -> '.join(cycle)}")
            return found
        found.append(ready)
        left.remove(ready)
    return found


def needed(links: Mapping[str, Link], last: str) -> set[str]:
    """A step and all that it needs."""
    found: set[str] = set()
    waiting = [last]
    while waiting:
        name = waiting.pop()
        if name in links and name not in found:
            found.add(name)
            waiting += links[name].needs
    return found


def without_idle(draft: Draft, links: Mapping[str, Link], order: Sequence[str]) -> list[str]:
    """The steps of an order without those that are optional and that no other step needs."""
    wanted = {one for name in order if draft.steps[name].get("optional") is not True for one in needed(links, name)}
    return [name for name in order if name in wanted]


def _known(draft: Draft, key: Key, ref: Ref) -> bool:
    if ref.step in draft.steps:
        return True
    draft.problem(key, str(unknown("input", ref.step, draft.steps)))
    return False


def _check_sorts(draft: Draft, link: Link, given: Sequence[Makes]) -> None:
    key = ("steps", link.name, "from")
    if not link.stage.accepts(["model", *given] if link.has_model else given):
        pairs = zip(link.inputs, given, strict=True)
        names = ", ".join(f"{ref} ({WORDS[makes]})" for ref, makes in pairs) or "nothing"
        draft.problem(key, f"{link.stage.name} takes {link.stage.wants}; given {names}")
        return
    for ref, makes in zip(link.inputs, given, strict=True):
        if ref.column and makes != "features":
            draft.problem(key, f"only features have outputs to choose from; {ref.step} makes {WORDS[makes]}")
    if link.sees and given and link.sees != given[0]:
        draft.problem(key, f"the plugin reads {WORDS[link.sees]}; {link.inputs[0]} makes {WORDS[given[0]]}")


def _check_head(draft: Draft, link: Link, links: Mapping[str, Link]) -> None:
    """A head is given as many features as it was trained on."""
    head = links[link.inputs[0].step] if link.inputs else None
    if head is None or head.stage.makes != "head" or len(link.inputs) == len(head.inputs) + 1:
        return
    names = ", ".join(map(str, head.inputs))
    draft.problem(
        ("steps", link.name, "from"),
        f"{head.name} was trained on {names}: name it first, then as many features of the same kind",
    )


def _cycle(links: Mapping[str, Link], left: Sequence[str]) -> list[str]:
    path = [left[0]]
    while True:
        following = next(one for one in links[path[-1]].needs if one in left)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
