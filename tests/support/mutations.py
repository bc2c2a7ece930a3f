"""Files made wrong at random: bytes changed, values of a tree replaced; the same for the same seed."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
from typing import Any

import yaml

# What has broken readers before, ours or others': no value of any key, ends of ranges, ways out of a folder, markup.
NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**400, -(10**30), 0.5, 1e308, float("nan"), float("inf"), 1e-320),
    *(
        "",
        " ",
        "../../outside",
        "/outside",
        "a\\b",
        "~",
        "a b",
        "\u202e\u0000",
        "\ud800",
        "é日💥",
        "=1+1",
        "-",
        "x" * 9000,
    ),
    *("<script>", "${HOME}", "{0.__class__}", "%s%n", "\\input{x}", "[bold]", "nan", "1e999", "0x10", "1_000", "null"),
    *([], {}, [[]], {"": ""}, [None], {"name": "vanilla"}, ["vanilla"] * 50, {"a": {"b": {"c": 1}}}, {"1": 1}),
)
TOKENS = (
    *(
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r",
        b'"',
        b"'",
        b",",
        b"[" * 40,
        b"{" * 40,
        b"}",
        b": ",
        b"- ",
        b"&a ",
        b"*a",
    ),
    *(
        b"!!python/object/apply:os.system [true]",
        b"!!set ",
        b"!!binary aa",
        b"2024-13-01",
        b"1e999",
        b"-1",
        b"nan",
        b"|",
    ),
    *(
        b"../../",
        b"/etc/passwd",
        b"9" * 5000,
        b"\xed\xa0\x80",
        b"<<: *a",
        b"%",
        b"#",
        b"\t",
        b"=cmd|' /C calc'!A0",
        b"0" * 300,
        b"0x" + b"f" * 6000,
    ),
)


def mutated_bytes(rng: random.Random, whole: bytes) -> bytes:
    """A file with one to four places changed, cut, doubled or filled with a token."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(6)
        length = min(rng.choice((1, 2, 8, 64, 1024)), len(data) - at)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 2:
            data[at : at + length] = rng.choice(TOKENS)
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def mutated_tree(rng: random.Random, tree: Any) -> Any:
    """A tree of mappings and lists with one to three of its values replaced, taken out, doubled or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return rng.choice(NASTY)
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind < 4:
            holder[key] = copy.deepcopy(rng.choice(NASTY))
        elif kind == 4:
            del holder[key]
        elif kind == 5 and isinstance(holder, dict):
            holder[rng.choice(("", "n", "../x", "é", 1, None, True, key if key == "" else str(key)[::-1]))] = holder[
                key
            ]
        elif kind == 5:
            holder.append(copy.deepcopy(holder[key]))
        elif kind == 6:
            holder[key] = [holder[key]]
        else:
            other, place = rng.choice(places)
            holder[key] = (
                copy.deepcopy(other[place]) if place in (other if isinstance(other, dict) else range(len(other))) else 0
            )
    return tree


def _places(tree: Any) -> Any:
    todo = [tree]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            yield node, key
            todo.append(node[key])


def mutated_rows(rng: random.Random, whole: bytes) -> bytes:
    """A CSV with one to three of its fields replaced, or a row or column taken out or doubled."""
    rows = list(csv.reader(io.StringIO(whole.decode())))
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        at, kind = rng.randrange(len(row)), rng.randrange(8)
        if kind < 5:
            row[at] = str(rng.choice(NASTY))
        elif kind == 5:
            row[at] = rng.choice(rng.choice(rows))
        elif kind == 6:
            rows.append(list(row))
        else:
            rows = [[*r[:at], *r[at + 1 :]] for r in rows]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode(errors="surrogatepass")


def mutated(rng: random.Random, name: str, whole: bytes) -> bytes:
    """A file of that name made wrong: as bytes, or, mostly, as the tree or the rows that it holds."""
    if not name.endswith((".yaml", ".json", ".csv")) or rng.random() < 0.4:
        return mutated_bytes(rng, whole)
    if name.endswith(".csv"):
        return mutated_rows(rng, whole)
    changed = mutated_tree(rng, yaml.safe_load(whole))
    if name.endswith(".json"):
        return json.dumps(changed).encode()
    return yaml.safe_dump(changed, allow_unicode=rng.random() < 0.5, sort_keys=False).encode(errors="surrogatepass")
