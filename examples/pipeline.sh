#!/usr/bin/env bash
# Two heads and their fusion, from clips to a score. Nothing is downloaded: the models come with affectkit[offline].
#
#   examples/pipeline.sh affectkit-demo/clips affectkit-demo/labels.csv        (after `make demo`)
set -euo pipefail
clips=$1 labels=$2

faces=$(affectkit extract faces "$clips" --detector centerface --fps 5)
features=$(affectkit embed "$faces" --backbone efficientnet-lite0)
for head in transformer lstm; do
    options=()
    [ "$head" = transformer ] && options=(-o width=128)
    trained=$(affectkit train-head "$features" --labels "$labels" --task va --head "$head" "${options[@]}")
    predictions+=("$(affectkit predict "$trained" "$features")")
done
fused=$(affectkit fuse "${predictions[@]}" --labels "$labels" --task va --method dwf)
affectkit evaluate "$fused" --labels "$labels" --task va
affectkit export "$fused" --to csv --out predictions.csv
