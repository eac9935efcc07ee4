#!/bin/sh
# Recstore beside DuckDB and implicit on the same generated ratings, in one run; see benches/README.md.
#
#   benches/peers/run.sh FOLDER [USERS ITEMS RATINGS]
#
# FOLDER takes the data, about 6 GB for 20 million ratings; it is made once and kept for further runs.
# PYTHON is an interpreter with requirements.txt installed, RECSTORE the program.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: run.sh FOLDER [USERS ITEMS RATINGS]}
users=${2:-140000}
items=${3:-27000}
ratings=${4:-20000000}
python=${PYTHON:-python3}
recstore=${RECSTORE:-$here/../../target/release/recstore}

mkdir -p "$folder"
export RECSTORE_CONFIG="$folder/recstore.yaml"
if [ ! -e "$folder/complete" ]; then
    rm -f "$folder"/recstore.db* "$folder"/ratings.*
    "$recstore" init --force
    "$recstore" generate --users "$users" --items "$items" --ratings "$ratings" --seed 7 --output "$folder/ratings.csv"
    "$recstore" import --batch 100000 "$folder/ratings.csv" >&2
    : > "$folder/complete"
fi
exec "$python" "$here/peers.py" all "$recstore" "$folder"
