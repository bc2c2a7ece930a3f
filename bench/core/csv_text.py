"""CSV text that spreadsheets show and do not compute: written, read, and its apostrophes taken back."""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.core.errors import ConfigError

# A spreadsheet computes a text that begins with one of these, behind spaces or not. Texts that begin with apostrophes
# before one are escaped as well, so that `unescape` takes back exactly what `escape` added.
FORMULA = re.compile(r"'*\s*[=+\-@]")


@functools.lru_cache(maxsize=2**16)  # most texts of a table stand in many rows
def escape(text: str) -> str:
    """Return the text with an apostrophe before it where a spreadsheet would compute it; numbers stay as they are.

    >>> escape("=1+1"), escape("-1.5"), escape("vanilla")
    ("'=1+1", '-1.5', 'vanilla')
    """
    return "'" + text if FORMULA.match(text) and not _is_number(text) else text


def unescape(text: str) -> str:
    """Return the text that `escape` was given.

    >>> unescape("'=1+1"), unescape("'quoted"), unescape("-1.5")
    ('=1+1', "'quoted", '-1.5')
    """
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as CSV, blank where a row lacks a key; floats in the shortest form that reads back to the same."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(k for row in rows for k in row))
    lines = (csv_line(map(row.get, columns)) for row in rows)
    return "".join(f"{line}\n" for line in itertools.chain([csv_fields(columns)], lines))


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


_csv = csv.writer(_Echo(), lineterminator="\n")


def csv_fields(values: Iterable[object]) -> str:
    """Return numbers and escaped texts as a line of a CSV, or as a part of one, without the line's end."""
    return str(_csv.writerow(values))[:-1]


def csv_line(values: Iterable[object]) -> str:
    """Return any values as a line of a CSV, or as a part of one, without the line's end; None is blank."""
    return csv_fields(map(_field, values))


def _field(value: object) -> str:
    return "" if value is None else float.__repr__(value) if isinstance(value, float) else escape(str(value))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_csv_lines(path: Path, advice: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of every line that is not blank, with the number of the line that they end in.

    Args:
        path: the file.
        advice: what to do about a file that cannot be read, the end of the error's sentence.

    Raises:
        ConfigError: the file cannot be opened, is not UTF-8, or is not CSV.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:  # spreadsheets write a byte order mark
            reader = csv.reader(f, strict=True)
            try:
                yield from ((reader.line_num, fields) for fields in reader if fields)
            except csv.Error as error:
                raise ConfigError(f"{path}, line {reader.line_num}: no CSV: {error}; {advice}") from error
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read {path}: it is not UTF-8 text; {advice}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; {advice}") from error
