#!/usr/bin/env bash
# Five built-in recipes, small and offline, each on a synthetic set in the layout of the real one, to a submission
# file and a table of scores. About 11 minutes on 2 cores; a second run takes seconds. Usage: recipes.sh [FOLDER]
set -euo pipefail
folder="${1:-affectkit-practice}"
export AFFECTKIT_CACHE="${AFFECTKIT_CACHE:-$folder/cache}"

for name in affwild2 hume-reaction cexpr dfew; do
    affectkit practice "$name" "$folder/$name"
done

affectkit run eri-2023 --tiny --root "$folder/hume-reaction"
affectkit run sun-2024-va --tiny --root "$folder/affwild2"
affectkit run sun-2024-expr --tiny --root "$folder/affwild2"
affectkit run tlhn-2024 --tiny --root "$folder/cexpr" --root dfew="$folder/dfew"
affectkit run strong-baseline --tiny --root "$folder/affwild2"
