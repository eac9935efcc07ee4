"""DuckDB making the tables that the pipeline's computing makes, from the same events; see benches/README.md.

    silver.py load FOLDER        events.parquet from the lines of bronze in FOLDER/lake
    silver.py limited FOLDER     the tables from events.parquet, with 1 GB of memory
    silver.py unlimited FOLDER   the same without a limit

The tables go to FOLDER/duckdb as Parquet: ratings by user and by item, features of users and of items.
"""

import json
import os
import resource
import shutil
import sys
import time

import duckdb

THREADS = 2

# Ids are text, values exact, times of milliseconds, event ids of 128 bits.
LOAD = """
    COPY (
        SELECT user, item, value::DECIMAL(18, 6) AS value, rated_at::TIMESTAMP AS rated_at, event_id::UUID AS event_id
        FROM read_json('{lake}/bronze/**/*.jsonl.zst', format = 'newline_delimited', columns = {{
            user: 'VARCHAR', item: 'VARCHAR', value: 'VARCHAR', rated_at: 'VARCHAR', event_id: 'VARCHAR'}})
    ) TO '{events}' (COMPRESSION zstd)
"""

# The latest event of each pair, and the earliest time. Of three ways the fastest: with `max` or `arg_max` of a struct it
# takes longer, with and without the limit.
CURRENT = """
    CREATE OR REPLACE TABLE ratings AS
    SELECT user, item, value, rated_at, event_id, min(rated_at) OVER (PARTITION BY user, item) AS first_rated_at
    FROM read_parquet('{events}')
    QUALIFY row_number() OVER (PARTITION BY user, item ORDER BY rated_at DESC, event_id DESC) = 1
"""

RATINGS = """
    COPY (SELECT {first}, {second}, value::DOUBLE AS value, value AS value_exact, rated_at, first_rated_at, event_id
          FROM ratings ORDER BY {first}, {second})
    TO '{out}/ratings_by_{first}.parquet' (COMPRESSION zstd)
"""

# The statistics that Recstore keeps, how often each value came included.
FEATURES = """
    COPY (SELECT {first} AS id, count(value) AS rating_count, sum(value) AS sum, sum(value * value) AS sum_squares,
                 avg(value) AS rating_mean, stddev_pop(value) AS rating_std,
                 min(value) AS rating_min, max(value) AS rating_max,
                 min(first_rated_at) AS first_rated_at, max(rated_at) AS last_rated_at, histogram(value) AS counts
          FROM ratings GROUP BY {first} ORDER BY {first})
    TO '{out}/{first}_features.parquet' (COMPRESSION zstd)
"""


def load(folder):
    begun = time.perf_counter()
    connection = duckdb.connect(config={"threads": THREADS})
    connection.execute(LOAD.format(lake=os.path.join(folder, "lake"), events=os.path.join(folder, "events.parquet")))
    return {"seconds": time.perf_counter() - begun}


def tables(folder, limit):
    out = os.path.join(folder, "duckdb")
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    config = {"threads": THREADS, "temp_directory": os.path.join(out, "spilled"), "preserve_insertion_order": False}
    if limit:
        config["memory_limit"] = limit
    # The table between is on disk, as what is between in ours is.
    connection = duckdb.connect(os.path.join(out, "between.duckdb"), config=config)
    phases = {}
    steps = [("current", CURRENT.format(events=os.path.join(folder, "events.parquet")))]
    for first, second in [("user", "item"), ("item", "user")]:
        steps.append((f"ratings by {first}", RATINGS.format(first=first, second=second, out=out)))
        steps.append((f"features by {first}", FEATURES.format(first=first, out=out)))
    begun = time.perf_counter()
    for name, statement in steps:
        step = time.perf_counter()
        connection.execute(statement)
        phases[name] = round(time.perf_counter() - step, 2)
    seconds = time.perf_counter() - begun
    usage = resource.getrusage(resource.RUSAGE_SELF)
    rows = connection.execute("SELECT count(*) FROM ratings").fetchone()[0]
    connection.close()
    shutil.rmtree(out, ignore_errors=True)
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "phases": phases, "rows": rows}


def main():
    modes = {
        "load": load,
        "limited": lambda folder: tables(folder, "1GB"),
        "unlimited": lambda folder: tables(folder, None),
    }
    if len(sys.argv) != 3 or sys.argv[1] not in modes:
        sys.exit(__doc__)
    print(json.dumps(modes[sys.argv[1]](sys.argv[2])))


if __name__ == "__main__":
    main()
