"""Hume-Reaction: one row a clip, seven intensities from 0 to 1. Ids are written `[12345]`, and kept as they are."""

from affectkit.submissions.formats import Format, clip_of

REACTIONS = Format("hume-reaction", "eri", "File_ID", clip_of, "[12345]", "values", frames=False)
