"""Functionals: what each feature dimension does over a window, in a few numbers. Plain numpy.

Shapes: T rows of a clip, D dimensions, W windows, F functionals. Times are in seconds, also inside slope and
curvature, so rows need not be regular.

- mean, std (population), min, max, range (max - min), rms; first and last (the earliest and the latest row);
- slope and offset: the least-squares line over time, per second, and its value at the window's start;
- curvature: the leading coefficient of the least-squares parabola over time, per second squared;
- delta-mean: the mean absolute difference of consecutive rows.

A window of one row has slope 0 and offset its value; one of two has curvature 0 (rows within a microsecond count as
one); delta-mean of one row is 0.

Sets: `sun-visual` and `sun-audio` are those of SUN (arXiv 2403.12609); `fun` is the earlier one of the same group
(Kaya, Gürpınar & Salah 2017), whose curves were fitted over the frame's index instead.
"""

from affectkit.functionals.names import FUNCTIONALS, SETS, Functional
from affectkit.functionals.summary import Summary, functionals, summaries
from affectkit.functionals.windows import RowWindows, windows

__all__ = ["FUNCTIONALS", "SETS", "Functional", "RowWindows", "Summary", "functionals", "summaries", "windows"]
