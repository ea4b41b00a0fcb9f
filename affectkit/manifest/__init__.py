"""Clip and label tables: SOURCE arguments, manifests, labels, splits and predictions as CSV.

All CSV files may have a byte-order mark, CRLF, quoted fields, blank lines, and headers in any case; ids and split
names have one spelling (`clip_id`, `split_name`) wherever they come from.
"""

from __future__ import annotations

from affectkit.manifest.alignment import Pooling, align, check_pooling
from affectkit.manifest.clip_ids import clip_id, split_name
from affectkit.manifest.crops import IMAGE_SUFFIXES, CropFrames, crop_frames
from affectkit.manifest.csv_table import CsvTable, read_table
from affectkit.manifest.frame_rates import FrameRates, Rates, common_rate, frame_rates, rate_of
from affectkit.manifest.label_doubts import constant_targets, doubts, time_doubts, value_doubts
from affectkit.manifest.label_match import LabelMatch, match_labels
from affectkit.manifest.labels import check_labels, read_labels
from affectkit.manifest.manifest_csv import read_manifest
from affectkit.manifest.openings import read_openings
from affectkit.manifest.predictions_csv import read_predictions, write_predictions
from affectkit.manifest.source_paths import sources
from affectkit.manifest.splits import SplitRequest, read_splits, resolve_splits
from affectkit.types import without_face

__all__ = [
    "IMAGE_SUFFIXES",
    "CropFrames",
    "CsvTable",
    "FrameRates",
    "LabelMatch",
    "Pooling",
    "Rates",
    "SplitRequest",
    "align",
    "check_labels",
    "check_pooling",
    "clip_id",
    "common_rate",
    "constant_targets",
    "crop_frames",
    "doubts",
    "frame_rates",
    "match_labels",
    "rate_of",
    "read_labels",
    "read_manifest",
    "read_openings",
    "read_predictions",
    "read_splits",
    "read_table",
    "resolve_splits",
    "sources",
    "split_name",
    "time_doubts",
    "value_doubts",
    "without_face",
    "write_predictions",
]
