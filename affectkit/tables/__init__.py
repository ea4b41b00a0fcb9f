"""Tables of clips and of rows in time.

- Clips: `ids`, `media_names`, `sources` (media arguments), `manifests`, `crops`, `source_digests`.
- Who and where: `subjects`, `splits`, `used_clips` (learnt from or held out), `recordings` (copies under two names).
- Labels: `labels` (where they come from), `label_tables`, `label_doubts`, `pooling` (the label of a row).
- Rows: `intervals`, `row_times`, `timeline` (predictions at common rows), `predictions`, `openings`, `feature_files`.
- Frames: `crop_times`, `frame_rates`, `frame_numbers`. Challenges: `submissions`, `submission_checks`.

All CSV files (`csv`, `csv_text`) may have a byte-order mark, CRLF, quoted fields, blank lines, and headers in any case;
ids and split names have one spelling (`ids.clip_id`, `ids.split_name`) wherever they come from.
"""
