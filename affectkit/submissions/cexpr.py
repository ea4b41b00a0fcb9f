"""C-EXPR-DB (compound expressions): one row a frame, the class as a number from 0 to 6."""

from affectkit.submissions.formats import Format, frame_of

COMPOUNDS = Format("cexpr", "compound", "image_location", frame_of, "video1/00001.jpg", "class")
