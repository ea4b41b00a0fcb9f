"""Files that challenges take: what they look like, writing them, checking them, reading them back.

Rows and their order come from the organisers' own template; a format says what stands in a row. One short module a
challenge, as `FORMATS` lists them.
"""

from affectkit.submissions.affwild2 import ACTION_UNITS, EXPRESSIONS, VALENCE_AROUSAL
from affectkit.submissions.cexpr import COMPOUNDS
from affectkit.submissions.check import Check, Problem, check
from affectkit.submissions.formats import Format
from affectkit.submissions.hume_reaction import REACTIONS
from affectkit.submissions.reading import read_submission
from affectkit.submissions.template import Template, check_header, read_template
from affectkit.submissions.writing import write_submission

__all__ = [
    "FORMATS",
    "Check",
    "Format",
    "Problem",
    "Template",
    "check",
    "check_header",
    "read_submission",
    "read_template",
    "write_submission",
]

FORMATS: dict[str, Format] = {
    one.name: one for one in (VALENCE_AROUSAL, EXPRESSIONS, ACTION_UNITS, COMPOUNDS, REACTIONS)
}
