"""Artifacts on disk: atomic parts, immutable memory-mapped HDF5 segments, provenance, per-clip digests."""

from affectkit.store.artifact import Artifact, Failure, StageRecord, open_artifact, write_table
from affectkit.store.cache import Cache, NotMade, provenance
from affectkit.store.features import Features, feature_columns, features, open_features
from affectkit.store.lineage import ancestors
from affectkit.store.schema import Column, Schema, faces_schema, features_schema, predictions_schema, waveforms_schema
from affectkit.store.selection import is_artifact
from affectkit.store.sidecars import UNREADABLE
from affectkit.store.table import is_done
from affectkit.store.writing import PartWriter

__all__ = [
    "UNREADABLE",
    "Artifact",
    "Cache",
    "Column",
    "Failure",
    "Features",
    "NotMade",
    "PartWriter",
    "Schema",
    "StageRecord",
    "ancestors",
    "faces_schema",
    "feature_columns",
    "features",
    "features_schema",
    "is_artifact",
    "is_done",
    "open_artifact",
    "open_features",
    "predictions_schema",
    "provenance",
    "waveforms_schema",
    "write_table",
]
