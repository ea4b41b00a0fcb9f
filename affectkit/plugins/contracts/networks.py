"""What every network keeps."""

from __future__ import annotations

from affectkit.plugins.contracts.candidate import Candidate, Obligation, hold
from affectkit.plugins.outputs import Outputs


def builds_a_module(candidate: Candidate) -> None:
    """`build` gives a torch module with its last activation as `output`, and `dim` is then 1 or more."""
    assert candidate.task is not None
    network = candidate.make()
    module = network.build(candidate.weights, [_outputs(candidate)])
    hold(any(True for _ in module.parameters()), "the module has no parameters")
    hold(hasattr(module, "output"), "the module has no attribute output")
    hold(isinstance(network.dim, int) and network.dim >= 1, f"its dim is {network.dim!r}")


def groups_its_parameters(candidate: Candidate) -> None:
    """`blocks` names each parameter once, all of them the module's, the head's last."""
    network = candidate.make()
    module = network.build(candidate.weights, [_outputs(candidate)])
    known = {id(parameter) for parameter in module.parameters()}
    named = [id(parameter) for block in network.blocks(module) for parameter in block]
    hold(len(network.blocks(module)) >= 1 and bool(named), "there are no blocks")
    hold(len(set(named)) == len(named), "a parameter is in two blocks")
    hold(set(named) <= known, "a parameter of blocks is none of the module's")


def _outputs(candidate: Candidate) -> Outputs:
    assert candidate.task is not None
    return Outputs(count=candidate.task.outputs, activation="tanh" if candidate.task.kind == "regression" else "linear")


OBLIGATIONS: list[Obligation] = [builds_a_module, groups_its_parameters]
