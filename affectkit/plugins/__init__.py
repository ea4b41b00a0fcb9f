"""Plugin protocols and the registry.

A plugin is one module in `affectkit/<group>/`; the module's name is the plugin's name (`_` reads as `-`), and its
`PLUGIN` is a class that follows the group's protocol. Packages outside affectkit register such a module under the
entry point `affectkit.<group>`. Modules whose name begins with `_` are shared code.

A plugin module imports torch, timm, transformers and scikit-learn only inside functions: its `Options` are read by
`--help`, by listings and on every cache hit.
"""

from affectkit.plugins.cards import CAUTION, UNSTATED_CROP, ModelCard
from affectkit.plugins.faults import Named, PluginFault, instance, loaded, weights
from affectkit.plugins.from_code import absolute, is_source
from affectkit.plugins.from_code import from_file as backbone_class
from affectkit.plugins.outputs import Outputs
from affectkit.plugins.protocols import (
    AudioBackbone,
    Auxiliary,
    Backbone,
    Dataset,
    Detector,
    Epoch,
    Example,
    Fuser,
    Head,
    ImageBackbone,
    Interrupted,
    Model,
    Monitor,
    Network,
    Plugin,
    RawLabels,
    Units,
)
from affectkit.plugins.registry import (
    GROUPS,
    Group,
    Nested,
    backbone,
    describe,
    get,
    identity,
    is_model,
    name_of,
    names,
    names_model,
    no_model,
    parse_options,
)
from affectkit.plugins.stated import stated_card

__all__ = [
    "CAUTION",
    "GROUPS",
    "UNSTATED_CROP",
    "AudioBackbone",
    "Auxiliary",
    "Backbone",
    "Dataset",
    "Detector",
    "Epoch",
    "Example",
    "Fuser",
    "Group",
    "Head",
    "ImageBackbone",
    "Interrupted",
    "Model",
    "ModelCard",
    "Monitor",
    "Named",
    "Nested",
    "Network",
    "Outputs",
    "Plugin",
    "PluginFault",
    "RawLabels",
    "Units",
    "absolute",
    "backbone",
    "backbone_class",
    "describe",
    "get",
    "identity",
    "instance",
    "is_model",
    "is_source",
    "loaded",
    "name_of",
    "names",
    "names_model",
    "no_model",
    "parse_options",
    "stated_card",
    "weights",
]
