"""Names of the package: a class means one thing, private modules stay in their room, modules import in one direction.

What is not yet so is listed here: the lists and the number may shrink, and nothing is added to them.
"""

from __future__ import annotations

import ast
import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import affectkit

ROOT = Path(affectkit.__file__).parent
BARE = frozenset({"found", "given", "own", "one", "made", "known", "there", "others", "places", "along"})
"""Words that say nothing of what a thing is."""

IN_TWO_ROOMS: frozenset[str] = frozenset()
BARE_FUNCTIONS: frozenset[str] = frozenset()
MOST_BARE_NAMES = 875


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module by its dotted name."""
    trees = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return trees


def room(module: str) -> str:
    """The package below affectkit that a module is in; of a module beside them, its own name."""
    return module.split(".")[1] if "." in module else module


def statements(nodes: Iterable[ast.AST], inside_functions: bool) -> Iterator[ast.AST]:
    """Everything below the nodes, bodies of functions only on request."""
    for node in nodes:
        yield node
        if inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from statements(ast.iter_child_nodes(node), inside_functions)


def imports(module: str, inside_functions: bool = False) -> set[str]:
    """The package's modules that a module imports, those for types included."""
    names = set()
    for node in statements(modules()[module].body, inside_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules() else node.module for name in below}
    return names & modules().keys() - {module}


def test_a_class_name_means_one_thing() -> None:
    rooms = defaultdict(set)
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != "Options":
                rooms[node.name].add(room(module))
    several = {name: sorted(where) for name, where in rooms.items() if len(where) > 1 and name not in IN_TWO_ROOMS}
    assert not several


def test_private_modules_stay_in_their_room() -> None:
    across = [
        f"{module} imports {name}"
        for module in modules()
        for name in imports(module, inside_functions=True)
        if any(part.startswith("_") for part in name.split(".")) and room(name) != room(module)
    ]
    assert not across


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """Imports for types count: who reads one module of a circle has to read them all."""
    graph = {module: imports(module) for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_functions_and_classes_are_not_called_by_bare_words() -> None:
    called = {
        f"{module}.{node.name}"
        for module, tree in modules().items()
        for node in statements(tree.body, inside_functions=False)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower() in BARE
    }
    assert called <= BARE_FUNCTIONS


def test_bare_words_do_not_spread() -> None:
    """Variables and parameters; a loop over `one` of a few lines is where most are."""
    count: Counter[str] = Counter()
    for module, tree in modules().items():
        for node in ast.walk(tree):
            is_variable = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in BARE
            count[room(module)] += is_variable or (isinstance(node, ast.arg) and node.arg in BARE)
    assert count.total() <= MOST_BARE_NAMES, count.most_common()
