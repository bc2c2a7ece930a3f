"""CSV text: what spreadsheets would compute is escaped, and read back to the same text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.core.csv_text import escape, read_csv_lines, to_csv, unescape
from bench.core.errors import ConfigError

TEXTS = st.text(st.sampled_from("'=+-@ \t1.e\u2003ab\n,\""), max_size=8) | st.text(max_size=20)


@given(TEXTS)
@example("'=1")
@example("''=1")
@example("-1")
@example("'-1")
@example(" '=1")
def test_unescape_is_the_inverse_of_escape(text: str) -> None:
    assert unescape(escape(text)) == text


@given(TEXTS)
def test_no_escaped_text_is_computed(text: str) -> None:
    escaped = escape(text)
    begins = escaped.lstrip()[:1]
    if begins and begins in "=+-@":
        float(escaped)  # a number, which a spreadsheet may read as one


def test_a_table_reads_back_to_its_texts(tmp_path: Path) -> None:
    texts = ["=1+1", "-strong", "'=1", "plain", 'a "quoted", b', "-0.5"]
    path = tmp_path / "table.csv"
    path.write_text(to_csv([{"a": text, "b": 1.5} for text in texts]), encoding="utf-8")
    lines = list(read_csv_lines(path, "restore it"))
    assert [unescape(fields[0]) for _, fields in lines[1:]] == texts
    assert [line for line, _ in lines] == list(range(1, len(texts) + 2))


def test_errors_end_with_the_advice(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b'a\n"1')
    with pytest.raises(ConfigError, match=r"table\.csv, line 2: no CSV: unexpected end of data; restore it$"):
        list(read_csv_lines(path, "restore it"))


def test_the_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes("\ufeffmodel,task\na,b\n".encode())
    assert list(read_csv_lines(path, "run again")) == [(1, ["model", "task"]), (2, ["a", "b"])]
