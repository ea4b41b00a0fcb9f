"""Where in a waveform somebody speaks, and taking noise out of it.

Three ways to find speech: `energy` (librosa), `silero` (a small network, silero-vad) and the opening of the mouth,
which tells the speaker in the picture from everybody else. Segments are [K,2], start and end in seconds from the
waveform's start, sorted and disjoint. Nothing heavy is loaded before it is needed.
"""

from __future__ import annotations

from affectkit.speech.detect import Method, segments
from affectkit.speech.mouth import mouth_segments
from affectkit.speech.spectral_gate import denoise
from affectkit.speech.versions import version

__all__ = ["Method", "denoise", "mouth_segments", "segments", "version"]
