"""Annotators' formats: tiers of annotations in time, and traces of several raters.

- `tiers`: rows of scores or labels as annotations, one tier a column.
- `folder`: a folder with one file a clip, written by `eaf` (ELAN), `boris`, `webvtt` and `traces`.
- `xml_tree`, `eaf_reading`, `trace_files`: what others wrote, which is untrusted.
- `raters`: one label of several raters', and how far they agree. `lag`: how much later than the face they are.
"""
