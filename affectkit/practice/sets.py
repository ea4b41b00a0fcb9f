"""Writing a practice set, whole or not at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from affectkit.config import Runtime
from affectkit.errors import unknown
from affectkit.practice import affwild2, cexpr, dfew, hume_reaction, table
from affectkit.practice.animated_face import PHOTO_SHA256, photograph
from affectkit.practice.filming import each
from affectkit.practice.set_folder import SetFolder
from affectkit.practice.settings import PracticeConfig, SetLayout
from affectkit.stages.sink import meter
from affectkit.store.atomic import explained, write_text

GENERATOR_VERSION = 4  # bump when a picture, a sound or a label changes
SETS = {
    "affwild2": affwild2.LAYOUT,
    "cexpr": cexpr.LAYOUT,
    "dfew": dfew.LAYOUT,
    "hume-reaction": hume_reaction.LAYOUT,
    "table": table.LAYOUT,
}
"""Practice sets by the name of the reader that reads them."""
_README = """Practice data of affectkit for its reader {name}: {about}

This is NOT a real data set. Everything in it is synthetic: drawn expressions on one public-domain photograph (NASA's
portrait of Eileen Collins), in most sets recoloured and warped so that clips look unlike one another, and babble of a
synthesiser. The labels are the numbers that drove the drawing. There is one person behind all the faces.

{notes}

It is there to run a whole system, from clips to a submission, through the real reader and the real writer. A score on
it says that the pipeline works. It says nothing about recognising anybody's emotion, and nothing about the real data.

Written by `affectkit practice {name}`; practice.json has the settings. The same settings give the same data.
"""


@dataclass(frozen=True)
class PracticeSet:
    """A set that was written: where, what lies there, how much, and whether it was there already."""

    name: str
    folder: Path
    about: str
    clips: int
    files: int
    cached: bool


def make_practice(name: str, folder: Path, config: PracticeConfig, runtime: Runtime) -> PracticeSet:
    """Write the practice set `name` into `folder`, unless the same settings have written it already.

    Raises UsageError: an unknown set, too few clips, a folder that holds anything else; MissingExtra without
    scikit-image (the photograph); AffectkitError when the disk is full or may not be written.
    """
    if name not in SETS:
        raise unknown("practice set", name, SETS)
    layout = SETS[name]
    settings = layout.settings(name, config)
    mark = {
        "what": "synthetic practice data of affectkit: one animated photograph, a synthesised voice; not a benchmark",
        "set": name, "generator_version": GENERATOR_VERSION, "photo_sha256": PHOTO_SHA256, **asdict(settings),
    }  # fmt: skip
    target = SetFolder(folder, mark, [*layout.tops, "README.txt"])
    if target.complete:
        return PracticeSet(name, folder, layout.about, settings.clips, target.count, cached=True)
    photograph()  # fails here, before anything is written
    with explained(folder), target.locked():
        target.begin()
        jobs = list(layout.jobs(folder, settings))
        with meter(f"practice {name}", len(jobs), "clips", runtime.progress) as progress:
            each(jobs, runtime.workers, progress)
        write_text(folder / "README.txt", _readme(name, layout))
        files = target.finish()
    return PracticeSet(name, folder, layout.about, settings.clips, files, cached=False)


def about(name: str) -> str:
    """What lies where in a set. Raises KeyError."""
    return SETS[name].about


def _readme(name: str, layout: SetLayout) -> str:
    """The text for people who open the folder: what the set's module says of itself, below its first line."""
    notes = layout.notes.strip().partition("\n\n")[2]
    return _README.format(name=name, about=layout.about, notes=notes)
