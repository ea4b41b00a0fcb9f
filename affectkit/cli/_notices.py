"""What the process was told on the way (`Notice` warnings), kept for commands that print JSON."""

from __future__ import annotations

_heard: list[str] = []


def hear(notice: str) -> None:
    """Keep a notice."""
    _heard.append(notice)


def heard() -> list[str]:
    """Every notice so far, each once."""
    return list(dict.fromkeys(_heard))


def forget() -> None:
    """Begin anew, with another command."""
    _heard.clear()
