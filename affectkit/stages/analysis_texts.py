"""What is said in words beside the scores of an analysis: what lies in the folder, and what each model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from affectkit.plugins import CAUTION
from affectkit.stages.analysis_folder import FEW
from affectkit.stages.scorers import SHARED_CROPS, ScoringModel

_CUT = {"margin": "margin {}", "shape": "{}", "size": "{} px", "colour": "{}", "normalisation": "{}"}


def readme(
    scorers: Sequence[ScoringModel], prefixes: Sequence[str], line: str, threshold: float, gap: float, fps: str
) -> str:
    """The text of README.md: files, columns, how to make it again."""
    models = ", ".join(scorer.name for scorer in scorers)
    columns = "\n".join(
        f"- {', '.join(f'`{prefix}{name}`' for name in scorer.columns)}: scores of {scorer.name}; "
        f"smoothing: {scorer.smoothed}"
        + "".join(f"; {text}" for text in (*scorer.fit, SHARED_CROPS if scorer.crops else "") if text)
        for scorer, prefix in zip(scorers, prefixes, strict=True)
    )
    of_first = f" of {_of_rows(scorers).name}" if len(scorers) > 1 else ""
    return f"""# Scores of {models}

**{CAUTION}** What each model is, what it was trained on and what is known to go wrong: [models.md](models.md).

| file | what is in it |
| --- | --- |
| `summary.csv` | a line a clip (and face): length, frames with a face, mean and spread of every score, episodes |
| `episodes.csv` | every stretch in which a score is {threshold:g} or more, gaps shorter than {gap:g} s bridged |
| `tables/` | a table a clip: a row a face and moment |
| `scores.csv` | the tables of all clips in one |
| `report/index.html` | a page to look at: curves that follow small pictures of the video |
| `curves/`, `overview.png` | pictures of them; further pages after 40 faces; further models: `overview.MODEL.png` |
| `analysis.json` | what was run, and which files here are of this analysis |

## Columns of the tables

- `clip`; `face`: its number in the clip with `--face all`, else, and where a clip has no face, empty. A number is no
  person: who is away for long, or elsewhere after a cut, has another number then; numbers of two clips are unrelated.
- `start`, `end`: when the frame that was looked at ({fps}) is on the screen, or the window of a model that hears:
  seconds from the clip's beginning. A frame's row stands for longer than that, up to the next: lengths in the summary
  and the episodes count so.
{columns}
- `valence_index` (of classes of emotion): happiness minus the strongest of anger, disgust, fear and sadness, from -1 to
  1: an order from unpleasant to pleasant expressions, not the rated valence of the circumplex.
- `speech` (with `--vad`): 1 where a row touches speech, else 0.
- `valid`: 0 where there is no score{of_first}: an empty cell. {_where_scored(scorers)}
- `observed`: the share of rows with a face (or speech) among those that a score{of_first} was made from. With
  smoothing these are all rows in its window, by their weight, and it lies between 0 and 1 near a gap; without, it is
  that of the row, 1 or 0.
- `model`: the model of all columns; where there are several, its name stands before the column.

## Columns of the summary

`seconds`: what the rows stand for; `rows`; `face_rows`, `face_share`: rows with a face (or speech), and their share;
`first_seen`, `last_seen` (s): from when to when, `face_x`, `face_y`, `face_size`: the middle and the side of the face's
box, mean over its rows, in pixels of the video; `scored_share`: rows with a
score; `dominant`: the class that is the strongest in most rows, and in which share of them. Of each score, over the
rows that have one (**fewer than {FEW} `face_rows` are too few to say
much**): `_mean`, `_sd` (over N - 1), `_p10` and `_p90` (quantiles), `_episodes` (their number),
`_episode_seconds` (together), `_longest_episode` (s). An episode lasts as long as its rows stand for, each up to the
next.

## Make it again

```sh
{line}
```
"""


def _of_rows(scorers: Sequence[ScoringModel]) -> ScoringModel:
    """The model whose rows the tables have, where it sees the clip."""
    return next((scorer for scorer in scorers if not scorer.hears), scorers[0])


def _where_scored(scorers: Sequence[ScoringModel]) -> str:
    """Which rows have a score, in words."""
    hears = _of_rows(scorers).hears
    what = "speech" if hears else "a face"
    alike = [each for each in scorers if each.hears == hears]
    published, trained = ([each.name for each in alike if each.is_published is flag] for flag in (True, False))
    lines = [f"Rows with {what} alone have scores of {' and '.join(published)}."] if published else []
    lines += [f"Rows up to 1 s from {what} have scores of {' and '.join(trained)}."] if trained else []
    return " ".join(lines)


def models_text(scorers: Sequence[ScoringModel]) -> str:
    """The text of models.md: a card each."""
    return "# What the models are\n\n" + f"**{CAUTION}**\n\n" + "\n".join(map(_card, scorers))


def _card(scorer: ScoringModel) -> str:
    about = scorer.about
    columns = ", ".join(scorer.columns)
    rows: list[tuple[str, str]] = [
        ("what it is", str(about.get("summary", ""))),
        ("scores", columns),
        ("trained on", str(about.get("trained_on", ""))),
        ("licences", _licences(about.get("licences") or {})),
        ("wants", _contract(about.get("contract"), about.get("sampling_rate"), scorer.hears)),
        ("reported", str(about.get("reported", ""))),
        ("verified", str(about.get("verified", ""))),
        ("known to go wrong", str(about.get("failures", ""))),
        ("meant for", str(about.get("intended", ""))),
        ("scores of a task", "; ".join(scorer.fit)),
        ("crops here", f"{scorer.crops}: {SHARED_CROPS}" if scorer.crops else ""),
        ("smoothing here", scorer.smoothed),
        ("predictions", str(scorer.predictions.path)),
    ]
    lines = "\n".join(f"| {name} | {_cell(text)} |" for name, text in rows if text)
    return f"## {scorer.name}\n\n| | |\n| --- | --- |\n{lines}\n"


def _licences(licences: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in licences.items())


def _contract(contract: Mapping[str, Any] | None, sampling_rate: Any, hears: bool) -> str:
    if hears:
        return f"sound at {sampling_rate} Hz" if sampling_rate else "sound"
    if not contract:
        return ""
    parts = [form.format(contract[name]) for name, form in _CUT.items() if contract.get(name)]
    return "a face crop: " + ", ".join(parts + (["aligned"] if contract.get("align") else []))


def _cell(text: str) -> str:
    """A text within a cell of a Markdown table: no bar, no line break, no tag."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
