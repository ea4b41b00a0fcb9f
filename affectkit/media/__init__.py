"""Decoding of media files: which frames, when exactly they are shown, and their pixels; and sound on the same clock.

    reader = VideoReader("clip.mp4", Sampling(fps=5))
    for frame in reader:
        frame.image, frame.start, frame.end, frame.index

    waveform = read_audio("clip.mp4")
    waveform.samples, waveform.sampling_rate, waveform.offset

Files are untrusted: only regular files, only the container formats in `ACCEPTED`, and FFmpeg may open nothing but the
file itself. Whatever is wrong with one file is a `ClipError` with its cause.
"""

from affectkit.media.audio import Waveform, read_audio
from affectkit.media.colours import is_plain, read_picture, upright_rgb
from affectkit.media.container import (
    ACCEPTED,
    AUDIO_SUFFIXES,
    MEDIA_SUFFIXES,
    VIDEO_SUFFIXES,
    decoder_version,
    open_media,
)
from affectkit.media.index import PacketIndex, scan
from affectkit.media.info import MediaInfo, probe
from affectkit.media.reader import Frame, VideoReader
from affectkit.media.sampling import Sampling
from affectkit.media.still import STILL_SUFFIXES, StillReader
from affectkit.media.write import write_video

__all__ = [
    "ACCEPTED",
    "AUDIO_SUFFIXES",
    "MEDIA_SUFFIXES",
    "STILL_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Frame",
    "MediaInfo",
    "PacketIndex",
    "Sampling",
    "StillReader",
    "VideoReader",
    "Waveform",
    "decoder_version",
    "is_plain",
    "open_media",
    "probe",
    "read_audio",
    "read_picture",
    "scan",
    "upright_rgb",
    "write_video",
]
