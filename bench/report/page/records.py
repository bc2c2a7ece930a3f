"""Every line of results.csv as compact data, so that a page can show all that decided a number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from bench.results.read import distinct


def table(rows: pd.DataFrame) -> dict[str, Any]:
    """The rows as columns of distinct texts and, a line, which of them it has.

    Args:
        rows: as `bench.results.read.read_results` gives them.

    Returns:
        "lines": the line in the file of every row; "columns": name, "texts" (distinct, in order of appearance) and
        "codes" (an index into "texts" a row; None where there is one text, which all rows have). A number's text is the
        shortest that reads back to the same float64, as the run wrote it.
    """
    columns = []
    for name in rows.columns:
        places, values = distinct(rows[name])
        texts = [_text(value) for value in values]
        known = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        codes = np.array([known[text] for text in texts])[places].tolist() if len(known) > 1 else None
        columns.append({"name": str(name), "texts": list(known), "codes": codes})
    return {"lines": [int(line) for line in rows.index], "columns": columns}


def _text(value: Any) -> str:
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)
