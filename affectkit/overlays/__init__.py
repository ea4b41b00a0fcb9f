"""Drawing on video pictures: letters, boxes, meshes, bars, the circumplex, curves, and hiding faces.

Pictures are uint8 [H,W,3] RGB and are drawn on in place; positions are in pixels, (0, 0) the upper left corner. Pillow
and numpy alone: what stays the same from frame to frame is drawn once and copied.
"""
