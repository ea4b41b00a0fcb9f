"""Backbones of one's own: `file.py:Class`, a class, or an instance. What they are, for fingerprints, is their code."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from affectkit.config import Config, canonical_json
from affectkit.digests import sha256_file
from affectkit.errors import UsageError, unknown
from affectkit.plugins.faults import Named, check_class
from affectkit.types import Contract
from affectkit.weights import WeightsFile

_SOURCE = re.compile(r"(?P<file>.+\.(py|onnx))(:(?P<plugin>\w+))?", re.DOTALL)
_ONNX = "affectkit.learning.onnx_models"
"""Where networks in ONNX files become classes: a room above this one, loaded only for them."""
_CODE: WeakKeyDictionary[type[Any], dict[str, str]] = WeakKeyDictionary()


class NoOptions(Config):
    """Of what has its options already: an instance, a saved network."""


def is_source(name: str) -> bool:
    """Whether a name means a class in a file, or a network in an ONNX file.

    >>> [is_source(name) for name in ("nets/mine.py:Mine", "mine.py", "mine.onnx", "resnet50.tv_in1k")]
    [True, True, True, False]
    """
    return _SOURCE.fullmatch(name) is not None


def absolute(name: str, folder: Path = Path()) -> str:
    """`file.py:Class` with the whole path of the file; a relative one is relative to the folder."""
    meant = _SOURCE.fullmatch(name)
    assert meant is not None
    path = (folder / Path(meant["file"]).expanduser()).absolute()
    return f"{path}:{meant['plugin']}" if meant["plugin"] else str(path)


def from_file(name: str, group: str = "backbones") -> type[Any]:
    """The class that `file.py:Class` or `file.onnx` names, a plugin of a group. Raises UsageError."""
    plugin = class_in(name)
    check_class(Named(group, name, plugin))
    return plugin


def class_in(name: str) -> type[Any]:
    """Any class that `file.py:Class` names; `file.py` means its PLUGIN, and `file.onnx` the network that it is by the
    card beside it. Raises UsageError."""
    meant = _SOURCE.fullmatch(name)
    assert meant is not None
    if meant["file"].endswith(".onnx"):
        if meant["plugin"]:
            raise UsageError(f"{name}: an ONNX file is one network: leave :{meant['plugin']} out")
        network: type[Any] = import_module(_ONNX).from_file(Path(meant["file"]).expanduser())
        return network
    path, wanted = Path(meant["file"]).expanduser(), meant["plugin"] or "PLUGIN"
    if not path.is_file():
        raise UsageError(f"{path} is not a file")
    digest = sha256_file(path)
    module_name = f"affectkit_plugin_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{digest[:12]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[module_name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise UsageError(
                f"{path} cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
    plugin = getattr(module, wanted, None)
    if plugin is None:
        own = [key for key, value in vars(module).items() if _is_own(value, module_name)]
        raise unknown(f"class of {path}", wanted, own)
    if not isinstance(plugin, type):
        raise UsageError(f"{path}: {wanted} is not a class")
    _CODE[plugin] = {"code": digest, "class": plugin.__name__}
    return plugin


def from_class(plugin: type[Any], group: str = "backbones") -> type[Any]:
    """A class, with the digest of its code noted. Raises UsageError where it is no plugin, or its code is not there."""
    check_class(Named(group, plugin.__name__, plugin))
    if plugin not in _CODE:
        _CODE[plugin] = {"code": _code_digest(plugin), "class": plugin.__name__}
    return plugin


def from_instance(own: Any, group: str = "backbones") -> type[Any]:
    """A class whose instances are this one. Raises UsageError where its state cannot be told from another's."""
    whole = type(own)
    name = whole.__name__

    class Given(whole):  # type: ignore[misc, valid-type]
        """An instance that was made already."""

        version = getattr(whole, "version", 1)
        Options = NoOptions

        @classmethod
        def weights(cls, options: Config, choice: str) -> WeightsFile:
            """Those it has."""
            if choice != "auto":
                raise UsageError(f"backbone {name} was passed as an instance: it has its weights (given {choice})")
            return WeightsFile(name, None, state, "unknown", "an instance")

        def __new__(cls, *_: Any) -> Any:
            return own

    state = _state_digest(own, name)
    Given.__name__, Given.__module__ = name, whole.__module__
    if (contract := getattr(own, "contract", None)) is not None:  # asked of the class, before anything is loaded
        Given.contract = contract
    check_class(Named(group, name, Given))
    _CODE[Given] = {"code": _code_digest(whole), "class": name}
    return Given


def code_of(plugin: type[Any]) -> Mapping[str, str]:
    """What of a class's code is part of fingerprints: of a registered plugin nothing, since its version says it."""
    return _CODE.get(plugin, {})


def _is_own(value: Any, module: str) -> bool:
    return isinstance(value, type) and value.__module__ == module and not issubclass(value, Config)


def _code_digest(plugin: type[Any]) -> str:
    """Of the file that a class is written in, or of its own lines where that is no file (a notebook)."""
    with suppress(OSError, TypeError):
        path = Path(inspect.getsourcefile(plugin) or "")
        if path.is_file():
            return sha256_file(path)
    if lines := _lines_in_cell(plugin):
        return hashlib.sha256(lines.encode()).hexdigest()
    raise UsageError(
        f"the source of class {plugin.__name__} cannot be read, and its results could not be told from those of "
        "another version: write it into a file"
    )


def _lines_in_cell(plugin: type[Any]) -> str:
    """A class's lines where its module is no file: in the notebook's cell that its methods are from."""
    for method in vars(plugin).values():
        code = getattr(getattr(method, "__func__", method), "__code__", None)
        text = "".join(linecache.getlines(code.co_filename)) if code is not None else ""
        with suppress(SyntaxError):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef) and node.name == plugin.__name__:
                    return ast.get_source_segment(text, node) or ""
    return ""


def _state_digest(own: Any, name: str) -> str:
    """SHA-256 of an instance's attributes."""
    total = hashlib.sha256()
    _feed(total, getattr(own, "__dict__", {}), name)
    return total.hexdigest()


def _feed(total: Any, value: Any, place: str) -> None:
    if isinstance(value, (str, int, float, bool, bytes, Path, type(None))):
        total.update(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, Config):
        total.update(canonical_json(value.model_dump(mode="json")).encode())
    elif isinstance(value, Contract):
        total.update(canonical_json(asdict(value)).encode())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        total.update(f"{value.dtype} {value.shape};".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key, item in sorted(value.items(), key=lambda pair: str(pair[0])):
            total.update(f"{key}:".encode())
            _feed(total, item, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        total.update(f"{len(value)};".encode())
        for number, item in enumerate(value):
            _feed(total, item, f"{place}[{number}]")
    elif callable(getattr(value, "state_dict", None)):
        total.update(f"{type(value).__qualname__} {value!r};".encode())
        _feed(total, dict(value.state_dict()), place)
    elif callable(getattr(value, "detach", None)):
        _feed(total, value.detach().cpu().numpy(), place)
    else:
        raise UsageError(
            f"{place} is a {type(value).__name__}, which has no digest: pass the class with options, or keep numbers, "
            "texts, arrays, tensors or torch modules in the instance"
        )
