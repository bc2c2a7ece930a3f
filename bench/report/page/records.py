"""All lines of results.csv as compact data, so that the page can show everything behind a number."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
import pandas as pd

from bench.results.score_row import distinct


class RecordColumn(TypedDict):
    """A column of results.csv.

    Attributes:
        name: of the column.
        texts: its distinct texts, in order of appearance.
        codes: index into `texts` per row; None where all rows have the only text.
    """

    name: str
    texts: list[str]
    codes: list[int] | None


class Records(TypedDict):
    """Every row's line number in the file, and the columns."""

    lines: list[int]
    columns: list[RecordColumn]


def table(rows: pd.DataFrame) -> Records:
    """Return rows of results.csv as columns of distinct texts.

    A number's text is the shortest that reads back to the same float64, as the run wrote it.

    Args:
        rows: as `bench.results.read.read_results` returns them.
    """
    columns: list[RecordColumn] = []
    for name in rows.columns:
        codes, values = distinct(rows[name])
        texts = [_text(value) for value in values]
        index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        of_row = np.array([index[text] for text in texts])[codes].tolist() if len(index) > 1 else None
        columns.append({"name": str(name), "texts": list(index), "codes": of_row})
    return {"lines": [int(line) for line in rows.index], "columns": columns}


def _text(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)
