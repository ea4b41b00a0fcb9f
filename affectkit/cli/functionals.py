"""`affectkit functionals`: from features over time to features a window."""

from __future__ import annotations

from typing import Annotated

import typer

from affectkit.cli._options import CacheOption, ClipsOption, JsonOption, OutOption, with_configs
from affectkit.cli._results import choose, finish
from affectkit.config import Runtime
from affectkit.stages.functionals import FunctionalsConfig
from affectkit.stages.functionals import functionals as run_functionals
from affectkit.store import Cache, open_artifact, open_features
from affectkit.store import features as column_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("functionals")(functionals)


@with_configs(config=FunctionalsConfig, runtime=Runtime)
def functionals(
    features: Annotated[str, typer.Argument(help="what embed printed; of several layers one: PATH:layer_07")],
    config: FunctionalsConfig,
    runtime: Runtime,
    clips: ClipsOption = None,
    cache: CacheOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Summarise features over windows: means, deviations, extremes, fitted curves.

    Windows begin every hop; the last one ends with the clip. Slope and curvature are per second and per second
    squared, the offset is the fitted line at the window's start. Invalid rows do not count.

    Examples:

    `affectkit functionals "$FEATURES" --set sun-visual --window 4 --hop 2`

    `affectkit functionals "$FEATURES" --functional mean --functional slope --window clip`

    `affectkit functionals "$LAYERS:layer_07" --set sun-audio`
    """
    given = open_features(features) if config.column is None else column_of(open_artifact(features), config.column)
    chosen, config = choose(clips, given.clips), config.model_copy(update={"column": given.column})
    finish(run_functionals(Cache(cache), given.artifact, config, runtime, clips=chosen, out=out), as_json)
