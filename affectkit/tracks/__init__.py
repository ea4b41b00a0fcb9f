"""From the faces found in each frame to face tracks: linking, choosing, cutting, and back to pixels.

No files are read or written here and no frames are kept. PIL and scipy are imported when first used.
"""

from affectkit.tracks.alignment import ARCFACE, similarity
from affectkit.tracks.crops import CropConfig, crop_image, croppable, cut
from affectkit.tracks.decoding import decode_crop, decode_crops
from affectkit.tracks.interpolation import bridge, detect_every
from affectkit.tracks.linking import LinkConfig, Linker, Track, iou
from affectkit.tracks.selection import FACE_RULES, FaceRule, Nearest, choose, face_rule
from affectkit.tracks.tracker import FaceTracker, Spool, SpooledCrops, pixels_in, rescaled

__all__ = [
    "ARCFACE",
    "FACE_RULES",
    "CropConfig",
    "FaceRule",
    "FaceTracker",
    "LinkConfig",
    "Linker",
    "Nearest",
    "Spool",
    "SpooledCrops",
    "Track",
    "bridge",
    "choose",
    "crop_image",
    "croppable",
    "cut",
    "decode_crop",
    "decode_crops",
    "detect_every",
    "face_rule",
    "iou",
    "pixels_in",
    "rescaled",
    "similarity",
]
