"""Runs the code of docs/open-data.md on a lake and holds what each tool reads against what the library said.

Arguments: the page, the expected values, and a file that says where the lake is.
"""

import datetime
import json
import math
import re
import sys

import pyarrow as pa
import pyarrow.fs


def snippets(page):
    """The blocks of Python, by the name in their first line."""
    blocks = re.findall(r"^```python\n# (.*?)\n(.*?)^```", page, re.S | re.M)
    named = dict(blocks)
    assert len(named) == len(blocks), "two blocks have one name"
    return named


def plain(value):
    """A value as JSON has it: times in microseconds, bytes in hexadecimal digits."""
    if value is None or value.__class__.__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, datetime.datetime):
        assert value.utcoffset() == datetime.timedelta(0), value
        since = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return since // datetime.timedelta(microseconds=1)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def rows(frame):
    """The rows of whatever a tool calls a table."""
    kind = type(frame).__module__.split(".")[0].lstrip("_")
    if kind == "pandas":
        found = frame.to_dict("records")
    elif kind == "polars":
        found = frame.to_dicts()
    elif kind == "duckdb":
        found = frame.to_arrow_table().to_pylist()
    else:
        found = pa.table(frame).to_pylist()
    return [plain(row) for row in found]


def ordered(found):
    return sorted(found, key=lambda row: json.dumps(row, sort_keys=True))


def same(what, found, expected):
    """Every expected column of every row, bit for bit; numbers by value, as some tools have no integers with nulls."""
    assert expected, f"{what}: nothing is expected"
    names = expected[0].keys()
    missing = [name for name in names if found and name not in found[0]]
    assert not missing, f"{what}: no columns {missing}, there are {list(found[0])}"
    number = lambda value: float(value) if type(value) is int and abs(value) < 2**53 else value
    column = lambda row: {name: number(row[name]) for name in names}
    found, expected = ordered(map(column, found)), ordered(map(column, expected))
    assert len(found) == len(expected), f"{what}: {len(found)} rows, expected {len(expected)}"
    for left, right in zip(found, expected):
        assert left == right, f"{what}:\n{left}\nexpected\n{right}"
    print(f"{what}: {len(found)} rows")


def main(page, expected, where):
    code = snippets(open(page, encoding="utf-8").read())
    expected = json.load(open(expected, encoding="utf-8"))
    where = json.load(open(where, encoding="utf-8"))
    files = pa.fs.S3FileSystem(**where["s3"]) if where["s3"] else pa.fs.LocalFileSystem()
    given = {"lake": where["lake"], "options": where["options"], "files": files, "root": where["root"]}

    def run(name, **more):
        scope = given | more
        exec(compile(code[name], f"{page}: {name}", "exec"), scope)
        return scope

    tools = ["deltalake", "polars", "duckdb", "pandas"]
    for table, versions in expected["silver"].items():
        for tool in tools:
            for version, content in versions.items():
                frame = run(tool, table=table, version=int(version))["frame"]
                same(f"{table} version {version} by {tool}", rows(frame), content)
            newest = run(tool, table=table, version=None)["frame"]
            same(f"{table} by {tool}", rows(newest), versions[max(versions, key=int)])
    head = run("head")
    assert head["generation"] == expected["generation"], head["generation"]
    assert head["versions"] == {name: max(map(int, of)) for name, of in expected["silver"].items()}
    lists = run("gold", catalogue=head["catalogue"])["lists"]
    for tool in tools:
        same(f"gold by {tool}", rows(run(f"gold by {tool}", lists=lists)["frame"]), expected["gold"])
    for topic, content in expected["bronze"].items():
        text = run("bronze", topic=topic)["text"]
        same(f"bronze {topic}", [json.loads(line) for line in text.splitlines()], content)
        for tool in tools[1:]:
            if topic == "ratings":
                same(f"bronze {topic} by {tool}", rows(run(f"bronze by {tool}", text=text)["frame"]), content)
    print("all of it agrees")


main(*sys.argv[1:])
