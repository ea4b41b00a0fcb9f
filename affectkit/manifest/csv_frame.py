"""The cells of a CSV file, parsed by pandas' C reader."""

from __future__ import annotations

import io
import warnings
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from affectkit.errors import UsageError
from affectkit.manifest.csv_text import NOT_A_NUMBER, CsvText

if TYPE_CHECKING:
    import pandas as pd


def parse(source: CsvText, wording: list[int], numeric: list[int]) -> pd.DataFrame:
    """The records below the header, blank ones too; columns are called by their place: float64 at the places
    `numeric`, categories of text at `wording`. Raises UsageError, with the line where one is to blame."""
    import pandas as pd

    try:
        frame = _read_csv(source, numeric, "category")
        # pandas makes numbers of categories that all look like numbers: the clip 007 would become 7.
        if not all(isinstance(value, str) for place in wording for value in frame[str(place)].cat.categories):
            frame = _read_csv(source, numeric, "str").astype({str(place): "category" for place in wording})
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        source.check(wording, numeric)
        raise UsageError(f"{source.path} cannot be read as CSV: {error}") from None
    return frame


def _read_csv(source: CsvText, numeric: list[int], words: str) -> pd.DataFrame:
    import pandas as pd

    file = io.BytesIO(source.raw)
    file.seek(source.body)
    numbers = [str(place) for place in numeric]
    names = [str(place) for place in range(len(source.header))]
    dtypes: dict[Hashable, Any] = {name: "float64" if name in numbers else words for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            file,
            header=None,
            names=names,
            index_col=False,
            dtype=dtypes,
            keep_default_na=False,
            na_values=dict.fromkeys(numbers, NOT_A_NUMBER),
            skip_blank_lines=False,
            skipinitialspace=True,
            low_memory=False,
        )
