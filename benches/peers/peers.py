"""Recstore beside DuckDB and implicit on the same ratings, each in a process of its own.

    peers.py all RECSTORE FOLDER      everything, and the ratios (what run.sh calls)
    peers.py duckdb FOLDER            columns of the features of every user and item, from a table of ratings
    peers.py duckdb-counts FOLDER     the same and how often each value came, as Recstore keeps it
    peers.py duckdb-csv FOLDER        the columns from the file of ratings
    peers.py implicit FOLDER          item-item cosine, top 50
    peers.py exact RECSTORE FOLDER    neighbours of a sample beside the exact cosine

FOLDER has ratings.csv (userId,movieId,rating,timestamp), and recstore.yaml that names a store of the same ratings.
"""

import json
import os
import random
import resource
import subprocess
import sys
import time

THREADS = 2
K = 50
SAMPLE = 200

FEATURES = """
    CREATE OR REPLACE TABLE {name}_features AS
    SELECT {column}, count(*) AS rating_count, sum(rating) AS sum, sum(rating * rating) AS sum_squares, avg(rating) AS rating_mean, stddev_pop(rating) AS rating_std,
           min(rating) AS rating_min, max(rating) AS rating_max,
           min(timestamp) AS first_rated_at, max(timestamp) AS last_rated_at{more}
    FROM ratings GROUP BY {column}
"""

# Ids are text and values exact, as Recstore has them.
TYPES = "types = {'userId': 'VARCHAR', 'movieId': 'VARCHAR', 'rating': 'DECIMAL(18, 6)'}"

LOAD = f"""
import duckdb, sys
duckdb.connect(sys.argv[1]).execute("CREATE TABLE ratings AS SELECT * FROM read_csv(?, {TYPES})", [sys.argv[2]])
"""


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def of_duckdb(folder, more=""):
    """From a table in a file, as ours is; loading it is not timed, nor is it part of the peak."""
    import duckdb

    path = os.path.join(folder, "ratings.duckdb")
    if not os.path.exists(path):
        subprocess.run([sys.executable, "-c", LOAD, path, os.path.join(folder, "ratings.csv")], check=True)
    return features(duckdb.connect(path, config={"threads": THREADS}), "", more)


def of_duckdb_counts(folder):
    """With how often each value came: what keeps minimum and maximum exact when ratings are replaced."""
    return of_duckdb(folder, ", histogram(rating) AS counts")


def of_duckdb_csv(folder):
    """From the file, by way of a table in memory."""
    import duckdb

    connection = duckdb.connect(config={"threads": THREADS})
    path = os.path.join(folder, "ratings.csv")
    return features(connection, f"CREATE TABLE ratings AS SELECT * FROM read_csv('{path}', {TYPES})", "")


def features(connection, load, more):
    begun = time.perf_counter()
    if load:
        connection.execute(load)
    for name, column in [("user", "userId"), ("item", "movieId")]:
        connection.execute(FEATURES.format(name=name, column=column, more=more))
    return {"seconds": time.perf_counter() - begun, "peak_mib": peak_mib()}


def matrix(folder):
    """Users by items, and the ids of the items, ascending by their text as Recstore has them."""
    import numpy
    from pyarrow import csv
    from scipy import sparse

    table = csv.read_csv(os.path.join(folder, "ratings.csv"))
    users, user_numbers = numpy.unique(table["userId"].to_numpy(), return_inverse=True)
    items, item_numbers = numpy.unique(table["movieId"].to_numpy(), return_inverse=True)
    order = numpy.argsort(numpy.array([str(item) for item in items]))
    rank = numpy.empty_like(order)
    rank[order] = numpy.arange(len(order))
    values = table["rating"].to_numpy().astype(numpy.float64)
    cells = sparse.csr_matrix((values, (user_numbers, rank[item_numbers])), (len(users), len(items)))
    return cells, [str(items[place]) for place in order]


def of_implicit(folder):
    """The similarity step alone: reading the file and making the matrix are not timed."""
    from implicit.nearest_neighbours import CosineRecommender

    cells, items = matrix(folder)
    model = CosineRecommender(K=K, num_threads=THREADS)
    begun = time.perf_counter()
    model.fit(cells, show_progress=False)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "peak_mib": peak_mib(), "items": len(items)}


def of_exact(recstore, folder):
    """Recstore's neighbours of a sample of items beside the cosine computed in double precision."""
    import numpy

    cells, items = matrix(folder)
    by_item = cells.T.tocsr()
    norms = numpy.sqrt(numpy.asarray(by_item.multiply(by_item).sum(axis=1)).ravel())
    number = {item: place for place, item in enumerate(items)}
    sample = random.Random(7).sample(items, min(SAMPLE, len(items)))
    answer = run(recstore, folder, ["similar", "show", *sample, "--json"])
    worst = 0.0
    lists = {found["id"]: found for found in neighbours(answer["output"])}
    for item in sample:
        place = number[item]
        cosines = numpy.asarray((by_item @ by_item[place].T).todense()).ravel() / (norms * norms[place])
        cosines[place] = 0.0
        best = numpy.sort(cosines)[::-1][:K]
        ours = lists[item]["neighbours"]
        assert len(ours) == min(K, int((cosines > 0).sum())), f"item {item} has {len(ours)} neighbours"
        for rank, neighbour in enumerate(ours):
            exact = cosines[number[neighbour["id"]]]
            worst = max(worst, abs(neighbour["similarity"] - exact), abs(neighbour["similarity"] - best[rank]))
    assert worst < 1e-12, f"a similarity is off by {worst}"
    return {"items": len(sample), "largest_difference": worst}


def neighbours(output):
    """The lists of an answer, whether it is one document or one for each line."""
    try:
        answer = json.loads(output)
        return answer if isinstance(answer, list) else answer.get("lists", [answer])
    except json.JSONDecodeError:
        return [json.loads(line) for line in output.splitlines()]


def run(recstore, folder, arguments):
    """A command of Recstore: seconds and peak memory of the whole process."""
    environment = dict(os.environ, RECSTORE_CONFIG=os.path.join(folder, "recstore.yaml"))
    begun = time.perf_counter()
    process = subprocess.Popen([recstore, *arguments], env=environment, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        sys.exit(f"recstore {arguments[0]} failed")
    return {"seconds": seconds, "peak_mib": usage.ru_maxrss / 1024, "output": output}


def apart(*arguments):
    """A peer in a process of its own, so that its peak memory is its own."""
    output = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return json.loads(output.stdout.splitlines()[-1])


def everything(recstore, folder):
    # Twice each, in turns; the second run counts, with everything in the system's cache.
    for _ in range(2):
        rebuilt = run(recstore, folder, ["features", "rebuild", "--json"])
        duckdb = apart("duckdb", folder)
        duckdb_counts = apart("duckdb-counts", folder)
        duckdb_csv = apart("duckdb-csv", folder)
    built = run(recstore, folder, ["similar", "build", "--for", "items", "--measure", "cosine", "--k", str(K),
                                   "--threads", str(THREADS), "--json"])
    report = json.loads(built["output"])
    implicit = apart("implicit", folder)
    exact = apart("exact", recstore, folder)
    ours = report["seconds"]["neighbours"]
    print(f"features rebuilt:     {rebuilt['seconds']:6.1f} s, {rebuilt['peak_mib']:6.0f} MiB (whole process)")
    for what, peer in [("same statistics:", duckdb_counts), ("columns only:", duckdb), ("columns, CSV:", duckdb_csv)]:
        print(f"DuckDB, {what:16}{peer['seconds']:6.1f} s, {peer['peak_mib']:6.0f} MiB; "
              f"ratio of the rates {peer['seconds'] / rebuilt['seconds']:.2f}, "
              f"of memory {rebuilt['peak_mib'] / peer['peak_mib']:.2f}")
    print(f"cosine, top {K}:       {ours:6.1f} s to compute, check and store the lists; "
          f"whole build {built['seconds']:.1f} s, {built['peak_mib']:.0f} MiB")
    print(f"implicit, the same:   {implicit['seconds']:6.1f} s to compute them, {implicit['peak_mib']:.0f} MiB")
    print(f"  ratio of the rates: {implicit['seconds'] / ours:6.2f} (goal: at least 2)")
    print(f"exact cosine:         {exact['items']} items, largest difference {exact['largest_difference']:.1e}")


def main():
    commands = {
        "all": everything,
        "duckdb": of_duckdb,
        "duckdb-counts": of_duckdb_counts,
        "duckdb-csv": of_duckdb_csv,
        "implicit": of_implicit,
        "exact": of_exact,
    }
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    answer = commands[sys.argv[1]](*sys.argv[2:])
    if answer is not None:
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
