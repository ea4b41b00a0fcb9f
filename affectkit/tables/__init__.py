"""Tables of clips and of rows in time: ids, SOURCE arguments, labels, splits, predictions, submissions.

All CSV files may have a byte-order mark, CRLF, quoted fields, blank lines, and headers in any case; ids and split
names have one spelling (`ids.clip_id`, `ids.split_name`) wherever they come from.
"""
