"""Aff-Wild2, as the ABAW challenges take it: one row a frame, `video/00001.jpg` first.

`video_left` and `video_right` are two persons of one video.
"""

from affectkit.submissions.formats import Format, frame_of

_KEY, _EXAMPLE = "image_location", "video1/00001.jpg"

VALENCE_AROUSAL = Format("affwild2-va", "va", _KEY, frame_of, _EXAMPLE, "values", low=-1.0)
EXPRESSIONS = Format("affwild2-expr", "expr", _KEY, frame_of, _EXAMPLE, "class")
ACTION_UNITS = Format("affwild2-au", "au", _KEY, frame_of, _EXAMPLE, "labels")
