"""What `analyze` returns: a folder of scores, as pandas frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectkit.api.outputs import WrittenFile
from affectkit.errors import UsageError
from affectkit.stages.analysis_folder import EPISODES_FILE, RECORD, SCORES_FILE, SUMMARY_FILE, WHAT
from affectkit.stages.stage import Result
from affectkit.untrusted import read_object

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = {"clip": str, "face": str}


def is_analysis(path: Path) -> bool:
    """Whether a folder was written by analyze."""
    return (path / RECORD).is_file()


class AnalysisResult(WrittenFile):
    """Scores of clips in a folder.

    path: the folder; cached: whether all of it was there already; failed: clips without a result, and why.
    """

    def __init__(self, path: Path, result: Result | None = None) -> None:
        super().__init__(path, result)
        self.record: Mapping[str, Any] = read_object(path / RECORD, f"the record of {WHAT}")
        self.cached = True if result is None else result.is_cached
        self.failed = (
            dict(self.record.get("failed") or {}) if result is None
            else {failure.clip: failure.cause for failure in result.failed}
        )  # fmt: skip
        self.exit_code = 3 if self.failed else 0

    @property
    def models(self) -> dict[str, Any]:
        """What is known of each model, by its name: its card, columns, smoothing and predictions."""
        return dict(self.record["models"])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row a clip (and face): length, share of frames with a face, mean and spread of every score, episodes."""
        return self._table(SUMMARY_FILE)

    @cached_property
    def episodes(self) -> pd.DataFrame:
        """A row an episode: clip, face, column, start, end, seconds, peak, model."""
        return self._table(EPISODES_FILE)

    @property
    def clips(self) -> list[str]:
        """Ids of the clips that have scores or rows."""
        return list(dict.fromkeys(self.summary["clip"]))

    def frame(self, clips: Sequence[str] | None = None) -> pd.DataFrame:
        """Every row, of all clips or of some: clip, start, end (s), face, a column a score, valid, observed."""
        table = self._table(SCORES_FILE)
        if clips is None:
            return table
        if absent := [clip for clip in clips if clip not in self.clips]:
            raise UsageError(f"{self.path} holds no clip '{absent[0]}'")
        return table[table["clip"].isin(list(clips))].reset_index(drop=True)

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        table = pd.read_csv(self.path / name, dtype=_TEXTS, keep_default_na=False, na_values=[""])
        table[list(_TEXTS)] = table[list(_TEXTS)].fillna("")
        return table.astype({"valid": bool}) if "valid" in table else table

    def _repr_html_(self) -> str:
        """The summary, for notebooks."""
        return str(self.summary.to_html(index=False))

    def __repr__(self) -> str:
        counts = f"{len(self.clips)} clips, models {', '.join(self.models)}, failed {len(self.failed)}"
        return f"<AnalysisResult {counts}; {self.path}>"
