"""A paper table as LaTeX, for booktabs and siunitx."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby

from bench.core.rounding import Style, shown
from bench.report.paper.claims import cited
from bench.report.paper.table import Cell, Head, Row, Table, letter

ARROWS = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", None: ""}
MARKS = {"best": r"\textbf{{{}}}", "tied": r"\underline{{{}}}", "": "{}"}
SPECIAL = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\texttt{\char34}",
        "`": r"\textasciigrave{}",
    },
    **{"[": "{[}", "]": "{]}", "*": "{*}"},  # after a line's end these are syntax
    **{"\u2013": "--", "±": r"$\pm$", "\u00d7": r"$\times$", "°": r"\textdegree{}", "µ": r"$\mu$"},
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}", "ł": r"\l{}"},
}
ACCENTS = {
    **{"\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0308": r"\"", "\u030a": r"\r"},
    **{"\u0304": r"\=", "\u0306": r"\u", "\u0307": r"\.", "\u030b": r"\H", "\u030c": r"\v", "\u0327": r"\c"},
}


def write_latex(table: Table) -> str:
    r"""Return a table environment; its document needs \usepackage{booktabs,siunitx}.

    A value and its interval take two columns, so that decimal points align and intervals are left-aligned.
    """
    columns = list(zip(*(row.cells for _, rows in table.blocks for row in rows), strict=True))
    twofold = [any(_parts(cell, table.template.interval)[1:] for cell in column) for column in columns]
    places = [max(_places(_parts(cell, table.template.interval)[0]) for cell in column) for column in columns]
    environment = "table*" if table.template.wide else "table"
    lines = [
        r"% needs \usepackage{booktabs,siunitx}",
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        rf"\caption{{{inert(table.template.caption)}}}",
        rf"\label{{tab:{table.template.template}}}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        r"\sisetup{detect-weight}",
        rf"\begin{{tabular}}{{l{''.join(' r@{' + chr(92) + ',}l' if two else ' r' for two in twofold)}}}",
        r"\toprule",
        *_heads(table.heads, twofold),
    ]
    for title, rows in table.blocks:
        lines.append(r"\midrule")
        if title:
            lines.append(rf"\multicolumn{{{1 + len(twofold) + sum(twofold)}}}{{l}}{{\emph{{{inert(title)}}}}} \\")
        lines += [_row(row, table.template.interval, twofold, places) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\smallskip", r"\begin{minipage}{\linewidth}", r"\raggedright"]
    lines += [f"{_superscript((i,))}\\,{_note(note)}\\quad" for i, note in enumerate(table.notes)]
    lines += [inert(remark) for remark in table.remarks]
    return "\n".join([*lines, r"\end{minipage}", rf"\end{{{environment}}}"]) + "\n"


def inert(text: str) -> str:
    """Escape a text for LaTeX, on one line; a character that the default fonts lack becomes its code point."""
    pieces = re.split(r"(?<=-)(?=-)|(?<=')(?=')", " ".join(text.split()))  # two hyphens would become a dash
    return "{}".join("".join(map(_character, piece)) for piece in pieces)


def _character(c: str) -> str:
    if c in SPECIAL:
        return SPECIAL[c]
    if c.isascii() and c.isprintable():
        return c
    base, *accents = list(unicodedata.normalize("NFD", c))
    if len(accents) == 1 and base.isascii() and accents[0] in ACCENTS:
        return f"{ACCENTS[accents[0]]}{{{base if base not in 'ij' else chr(92) + base + '{}'}}}"
    return rf"\texttt{{U+{ord(c):04X}}}"


def _heads(heads: Sequence[Head], twofold: Sequence[bool]) -> Iterable[str]:
    spans = [1 + two for two in twofold]
    if any(head.group for head in heads):
        cells, rules, start = [""], [], 2
        for name, same in groupby(zip(heads, spans, strict=True), key=lambda pair: pair[0].group):
            width = sum(span for _, span in same)
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{inert(name)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
        yield f"{' & '.join(cells)} \\\\"
        yield "".join(rules)
    titles = [
        rf"\multicolumn{{{span}}}{{c}}{{{_stacked(head.heading)}{ARROWS[head.better]}}}"
        for head, span in zip(heads, spans, strict=True)
    ]
    yield f"{' & '.join(['method', *titles])} \\\\"


def _stacked(heading: str) -> str:
    lines = r"\\".join(inert(line) for line in heading.splitlines())
    return rf"\shortstack{{{lines}}}" if r"\\" in lines else lines


def _row(row: Row, style: Style, twofold: Sequence[bool], places: Sequence[int]) -> str:
    cells = [_cell(cell, style, two, digits) for cell, two, digits in zip(row.cells, twofold, places, strict=True)]
    return f"{' & '.join([inert(row.label) + _superscript(row.notes), *cells])} \\\\"


def _cell(cell: Cell, style: Style, twofold: bool, digits: int) -> str:
    value, *ends = _parts(cell, style)
    notes = _superscript(cell.notes)
    if not value:
        return rf"\multicolumn{{{1 + twofold}}}{{c}}{{{inert(cell.word)}{notes}}}"
    lacking = digits - _places(value)
    dot = "." if lacking and not _places(value) else ""
    padding = rf"\phantom{{{dot}{'0' * lacking}}}" if lacking else ""
    number = MARKS[cell.mark].format(rf"\num{{{value}}}") + padding
    if not twofold:
        return number + notes
    interval = f"$\\pm$\\,\\num{{{ends[0]}}}" if len(ends) == 1 else ""
    if len(ends) == 2:
        interval = rf"[\num{{{ends[0]}}}, \num{{{ends[1]}}}]"
    return f"{number} & {interval}{notes}"


def _parts(cell: Cell, style: Style) -> tuple[str, ...]:
    """Return the numbers of a cell as text, value first; "" where the cell is a word."""
    if cell.value is not None:
        return shown(cell.value.value, cell.value.low, cell.value.high, style)
    return (cell.word,) if cell.claimed else ("",)


def _places(number: str) -> int:
    return len(number.partition(".")[2].lower().partition("e")[0])


def _superscript(notes: tuple[int, ...]) -> str:
    return rf"\textsuperscript{{{','.join(map(letter, notes))}}}" if notes else ""


def _note(note: str) -> str:
    key = cited(note)
    return rf"\cite{{{key}}}" if key else inert(note)
