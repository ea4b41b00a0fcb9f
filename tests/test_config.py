"""Configs: strict, frozen, one fingerprint for one meaning, and errors that say what is accepted."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from affectkit.config import Config, Numerics, Runtime, canonical_json, explain, fingerprint, validate
from affectkit.errors import UsageError


class Net(Config):
    name: str = "vgg16"
    layers: int = Field(3, ge=1)


class Options(Config):
    rate: float | Literal["native"] = 5.0
    shape: Literal["square", "letterbox"] = "square"
    sizes: tuple[int, ...] = (1, 2)
    net: Net = Net()


def problem(**values: object) -> str:
    with pytest.raises(UsageError) as error:
        validate(Options, values, "options of x")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Options().rate = 3.0


def test_an_unknown_option_has_a_suggestion() -> None:
    message = problem(shap="square")
    assert message == "unknown option of x 'shap': did you mean 'shape'? (accepted: net, rate, shape, sizes)"
    assert "net.nam: no such key (given 'a')" in problem(net={"nam": "a"})


def test_a_wrong_value_is_named_with_what_is_accepted() -> None:
    assert "shape: Input should be 'square' or 'letterbox' (given 'round')" in problem(shape="round")
    assert "net.layers: Input should be greater than or equal to 1 (given '0')" in problem(net={"layers": "0"})
    both = problem(rate="fast")
    assert both.startswith("options of x: rate: Input should be a valid number")
    assert "or Input should be 'native' (given 'fast')" in both
    assert both.count("rate") == 1
    two = problem(shape="round", net={"layers": "x"})
    assert "; " in two


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "inf"])
def test_numbers_are_finite(value: object) -> None:
    assert "finite number" in problem(rate=value)


def test_a_missing_value_is_not_printed() -> None:
    class Needs(Config):
        task: str

    with pytest.raises(ValidationError) as error:
        Needs.model_validate({})
    assert explain(error.value) == "task: Field required"


def test_the_fingerprint_follows_the_values_not_their_order() -> None:
    assert fingerprint({"a": 1, "b": [True, None]}) == fingerprint({"b": [True, None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": "1"}) != fingerprint({"a": 1})
    assert len(fingerprint({})) == 64
    assert fingerprint({"name": "Zoë"}) == fingerprint(json.loads('{"name": "Zo\\u00eb"}'))
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    text = "from affectkit.config import fingerprint; print(fingerprint({'b': {'x', }.__len__(), 'a': [1.5, 'ü']}))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert runs == {fingerprint({"a": [1.5, "ü"], "b": 1})}


def test_runtime_and_numerics_are_checked() -> None:
    for model, values in ((Runtime, {"workers": -1}), (Numerics, {"batch_size": 0}), (Numerics, {"precision": "int8"})):
        with pytest.raises(UsageError):
            validate(model, values, "option")
