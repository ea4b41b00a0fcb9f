"""What found the speech or took out the noise, for fingerprints."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from affectkit.errors import MissingExtra, unknown

# Each method: the package that does it, the extra that brings it, and the option that asks for it.
_PACKAGES = {
    "energy": ("librosa", "", "--vad energy"),
    "silero": ("silero-vad", "vad", "--vad silero"),
    "spectral-gate": ("noisereduce", "denoise", "--denoise spectral-gate"),
}
_OURS = {"mouth": "mouth-1"}  # counted up when the rule changes


def version(method: str) -> str:
    """The package behind a method and its version; nothing is imported.

    Raises UsageError for an unknown method, MissingExtra where the package is not installed.

    >>> version("mouth")
    'mouth-1'
    >>> version("energy").startswith("librosa-")
    True
    """
    if method in _OURS:
        return _OURS[method]
    if method not in _PACKAGES:
        raise unknown("way to find speech or take out noise", method, [*_PACKAGES, *_OURS])
    package, extra, purpose = _PACKAGES[method]
    try:
        return f"{package}-{installed(package)}"
    except PackageNotFoundError:
        raise MissingExtra(package, extra, purpose) from None
