#!/usr/bin/env bash
# A head on faces, a head on speech, and their fusion, from clips to a score. Nothing is downloaded: the models come with
# affectkit[offline].
#
#   examples/pipeline.sh affectkit-demo/clips affectkit-demo/labels.csv        (after `make demo`)
set -euo pipefail
clips=$1 labels=$2
about=(--labels "$labels" --task va)

faces=$(affectkit extract faces "$clips" --detector centerface --fps 5)
seen=$(affectkit embed "$faces" --backbone efficientnet-lite0)
sound=$(affectkit extract audio "$clips" --vad energy)
heard=$(affectkit embed "$sound" --backbone deepspectrum --window 1 --hop 0.5)

face=$(affectkit train-head "$seen" "${about[@]}" --head transformer -o width=128 --smooth hamming)
voice=$(affectkit train-head "$heard" "${about[@]}" --head lstm)
by_face=$(affectkit predict "$face" "$seen")
by_voice=$(affectkit predict "$voice" "$heard")

fused=$(affectkit fuse "$by_face" "$by_voice" "${about[@]}" --method dwf)
affectkit compare "$by_face" "$by_voice" "$fused" "${about[@]}"
affectkit evaluate "$fused" "${about[@]}"
affectkit export "$fused" --to csv --out predictions.csv
