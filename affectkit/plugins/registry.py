"""Finding plugins by name, and reading their options."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from affectkit.config import Config, validate
from affectkit.errors import UsageError, unknown
from affectkit.plugins import from_code, passed
from affectkit.plugins.faults import Named, check_class

Group = Literal["detectors", "backbones", "models", "heads", "networks", "fusers", "datasets"]
GROUPS: tuple[Group, ...] = ("detectors", "backbones", "models", "heads", "networks", "fusers", "datasets")


class Nested(Config):
    """A backbone inside a plugin: its name, and as other keys its own options (`-o net=vgg16 -o net.layer=fc2`).

    >>> Nested.model_validate({"name": "vgg16", "layer": "fc2"}).texts
    ['layer=fc2']
    """

    model_config = ConfigDict(extra="allow")
    name: str = Field(description="an image backbone (affectkit list backbones)")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @property
    def texts(self) -> list[str]:
        """The options as key=value."""
        return [f"{key}={value}" for key, value in (self.model_extra or {}).items()]


def names(group: Group) -> list[str]:
    """Plugins of a group, sorted; nothing heavy is imported."""
    return sorted(_modules(group))


def get(group: Group, name: str) -> type[Any]:
    """The plugin class; a published model is a backbone as well. Raises UsageError with the nearest accepted name, or
    for a package's plugin that is broken."""
    modules = _modules(group)
    if not isinstance(plugin := passed.meant(group, name), str):
        return from_code.from_class(plugin, group)
    if group in ("backbones", "models") and from_code.is_source(name):
        return from_code.from_file(name, group)
    if group == "backbones" and name not in modules and name in (published := _modules("models")):
        group, modules = "models", published
    if name not in modules:
        raise unknown(group.removesuffix("s"), name, modules)
    if not modules[name].startswith("affectkit."):
        return _outside(group, name, modules[name])
    plugin = import_module(modules[name]).PLUGIN
    assert isinstance(plugin, type)
    return plugin


def backbone(name: str | type[Any] | object, options: Sequence[str] = ()) -> tuple[str, type[Any], Config]:
    """A backbone or published model by plugin name, any timm model by its own, `file.py:Class`, a class or an instance:
    (artifact name, plugin, options). Raises UsageError."""
    name = passed.meant("backbones", name)
    if not isinstance(name, str):
        return _backbone_of(name, options)
    if from_code.is_source(name):
        plugin = from_code.from_file(name)
        return plugin.__name__, plugin, parse_options(plugin, options, plugin.__name__)
    groups: tuple[Group, ...] = ("backbones", "models")
    for group in groups:
        if name in _modules(group):
            plugin = get(group, name)
            return name, plugin, parse_options(plugin, options, name)
    plugin = get("backbones", "timm")
    return name, plugin, parse_options(plugin, [f"model={name}", *options], name)


def names_model(text: str) -> bool:
    """Whether a text is the name of a published model, or of a file that is one."""
    return text in _modules("models") or from_code.is_source(text)


def no_model(text: str) -> UsageError:
    """For a text that is nearly the name of a published model, or looks like one."""
    near = get_close_matches(text, names("models"), n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return UsageError(
        f"{text} is not an artifact (it does not exist), and no published model{hint}: affectkit list models has those "
        "that are known, train-head and finetune print the others"
    )


def is_model(plugin: type[Any]) -> bool:
    """Whether a backbone's class is that of a published model, with a card and scores of its own."""
    return callable(getattr(plugin, "card", None)) and callable(getattr(plugin, "scores", None))


def name_of(group: Group, plugin: Any) -> str:
    """The name of a plugin that is passed as a class or an instance, by which it is found while the process lasts; of
    one that is registered its own. Raises UsageError for a class with the name of another plugin."""
    modules = _modules(group)
    for name, module in modules.items():
        if getattr(plugin, "__module__", "") == module and get(group, name) is plugin:
            return name
    if (name := getattr(plugin, "__name__", "")) in modules:
        raise UsageError(f"{group.removesuffix('s')} '{name}' is there already: call the class something else")
    return passed.remember(group, plugin)


def parse_options(plugin: type[Any], given: Iterable[str], name: str) -> Config:
    """`key=value` texts as the plugin's own validated options; dotted keys reach nested options."""
    tree: dict[str, Any] = {}
    for item in given:
        key, found, value = item.partition("=")
        if not found or not key:
            raise UsageError(f"option '{item}' is not key=value")
        _set(tree, key.split("."), value)
    return validate(plugin.Options, tree, f"options of {name}")


def describe(options: Config) -> Mapping[str, Any]:
    """Options as JSON-able values for fingerprints and provenance; a nested backbone by its own version and options."""
    nested = {name: value for name in type(options).model_fields if isinstance(value := getattr(options, name), Nested)}
    inner = {field: identity(*backbone(value.name, value.texts)) for field, value in nested.items()}
    return options.model_dump(mode="json", exclude=set(nested)) | inner


def identity(name: str, plugin: type[Any], options: Config) -> dict[str, Any]:
    """What a plugin with these options is, for fingerprints."""
    return {"name": name, "version": plugin.version, "options": describe(options), **from_code.code_of(plugin)}


def _set(tree: dict[str, Any], path: list[str], value: str) -> None:
    """`net=vgg16` is short for `net.name=vgg16` where something of `net.` is given too."""
    *parents, leaf = path
    for key in parents:
        if not isinstance(tree.setdefault(key, {}), dict):
            tree[key] = {"name": tree[key]}
        tree = tree[key]
    if isinstance(tree.get(leaf), dict):
        tree, leaf = tree[leaf], "name"
    tree[leaf] = value


def class_of(name: str) -> tuple[type[Any], list[Group]]:
    """The class that a registered name, a module (`package.module[:Class]`) or `FILE.py[:Class]` means, not judged yet,
    and the groups that it is registered in. Raises UsageError."""
    if from_code.is_source(name):
        return from_code.class_in(name), []
    groups = [group for group in GROUPS if name in _modules(group)]
    module, _, wanted = (_modules(groups[0])[name] if groups else name).partition(":")
    try:
        plugin = getattr(import_module(module), wanted or "PLUGIN")
    except Exception as error:  # whatever its top lines raise
        raise UsageError(
            f"{name} is no plugin (affectkit list GROUP), no FILE.py[:CLASS], and as a module it cannot be loaded: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(plugin, type):
        raise UsageError(f"{name}: its {wanted or 'PLUGIN'} is not a class")
    return plugin, groups


def _outside(group: Group, name: str, module: str) -> type[Any]:
    """The plugin of another package, whose mistakes are not ours."""
    try:
        plugin = import_module(module).PLUGIN
    except Exception as error:  # whatever its top lines raise
        known = isinstance(error, (ImportError, AttributeError, SyntaxError))
        cause = " ".join(str(error).split()) if known else f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UsageError(f"{group.removesuffix('s')} '{name}' ({module}) cannot be loaded: {cause}") from error
    if not isinstance(plugin, type):
        raise UsageError(f"{group.removesuffix('s')} '{name}' ({module}): its PLUGIN is not a class")
    check_class(Named(group, name, plugin))
    return plugin


def _backbone_of(given: object, options: Sequence[str]) -> tuple[str, type[Any], Config]:
    """A class or an instance; the class of a plugin that is registered is that plugin."""
    if not isinstance(given, type):
        if options:
            raise UsageError(f"options go with a class; an instance of {type(given).__name__} has its own")
        of_instance = from_code.from_instance(given)
        return of_instance.__name__, of_instance, of_instance.Options()
    registered = _modules("models") | _modules("backbones")
    for name, module in registered.items():
        if given.__module__ == module and get("backbones", name) is given:
            return name, given, parse_options(given, options, name)
    plugin = from_code.from_class(given)
    return plugin.__name__, plugin, parse_options(plugin, options, plugin.__name__)


def _modules(group: Group) -> dict[str, str]:
    package = import_module(f"affectkit.{group}")
    found = {
        info.name.replace("_", "-"): f"{package.__name__}.{info.name}"
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    }
    for point in entry_points(group=f"affectkit.{group}"):
        found.setdefault(point.name, point.module)
    return found
