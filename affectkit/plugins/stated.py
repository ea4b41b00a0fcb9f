"""What is known of a published model before its files are here."""

from __future__ import annotations

from affectkit.plugins import from_code
from affectkit.plugins.cards import ModelCard
from affectkit.plugins.faults import Named, weights
from affectkit.plugins.registry import get, parse_options
from affectkit.weights import WeightsFile, table


def stated_card(name: str) -> ModelCard:
    """The card of a published model with default options. Nothing is fetched: a plugin's is read without its files.

    Raises UsageError where they alone say it, or an option has no default; PluginFault for a plugin that is broken.
    """
    plugin = get("models", name)
    options = parse_options(plugin, [], name)
    if from_code.is_source(name):
        file = weights("models", name, plugin, options, "auto")
    else:
        licence = next((row.licence for row in table().values() if row.used_by == f"model {name}"), "none")
        file = WeightsFile(name, None, "not looked at", licence, "its entry")
    who = Named("models", name, plugin)
    with who.errors("card, asked for without files (weights.path is None),"):
        card = plugin.card(options, file)
    who.require(isinstance(card, ModelCard), f"card gives a {type(card).__name__}, no ModelCard")
    assert isinstance(card, ModelCard)
    return card
