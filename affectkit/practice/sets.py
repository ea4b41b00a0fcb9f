"""Writing a practice set: one of four, whole or not at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from affectkit.config import Runtime
from affectkit.errors import unknown
from affectkit.practice._filming import each
from affectkit.practice._folder import SetFolder
from affectkit.practice.animated_face import PHOTO_SHA256, photograph
from affectkit.practice.settings import PracticeConfig, planned
from affectkit.stages.map_stage import meter
from affectkit.store.atomic import explained, write_text

GENERATOR_VERSION = 4  # bump when a picture, a sound or a label changes
SETS = ("affwild2", "cexpr", "dfew", "hume-reaction")
_README = """Practice data of affectkit in the layout of {name}: {about}

This is NOT {name}. Everything in it is synthetic: drawn expressions on one public-domain photograph (NASA's portrait
of Eileen Collins), recoloured and warped so that clips look unlike one another, and babble of a synthesiser. The labels
are the numbers that drove the drawing. There is one person behind all the faces.

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
    one: Any = import_module(f"affectkit.practice.{name.replace('-', '_')}")
    plan = planned(name, config, one.CLIPS, one.SECONDS, one.LEAST)
    settings = {
        "what": "synthetic practice data of affectkit: one animated photograph, a synthesised voice; not a benchmark",
        "set": name, "generator_version": GENERATOR_VERSION, "photo_sha256": PHOTO_SHA256, **asdict(plan),
    }  # fmt: skip
    target = SetFolder(folder, settings, [*one.TOPS, "README.txt"])
    if target.complete:
        return PracticeSet(name, folder, one.ABOUT, plan.clips, target.count, cached=True)
    photograph()  # fails here, before anything is written
    with explained(folder), target.locked():
        target.begin()
        jobs = list(one.jobs(folder, plan))
        with meter(f"practice {name}", len(jobs), "clips", runtime.progress) as progress:
            each(jobs, runtime.workers, progress)
        write_text(folder / "README.txt", _readme(name, one))
        files = target.finish()
    return PracticeSet(name, folder, one.ABOUT, plan.clips, files, cached=False)


def about(name: str) -> str:
    """What lies where in a set. Raises KeyError."""
    if name not in SETS:
        raise KeyError(name)
    found: str = import_module(f"affectkit.practice.{name.replace('-', '_')}").ABOUT
    return found


def _readme(name: str, module: Any) -> str:
    """The text for people who open the folder: what the set's module says of itself, below its first line."""
    notes = (module.__doc__ or "").strip().partition("\n\n")[2]
    return _README.format(name=name, about=module.ABOUT, notes=notes)
