"""A template filled with a run: heads, rows, cells and footnotes, independent of the output format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from bench.core.errors import ConfigError, UnknownName
from bench.core.stats import Estimate, minimum_detectable_difference
from bench.core.value import Value
from bench.protocols.evaluator import Better
from bench.report.paper.claims import Claim
from bench.report.paper.remarks import protocol, seeds_of
from bench.report.paper.template import ColumnChoice, Template
from bench.results.key import Key, Task
from bench.results.metric_info import metric
from bench.results.run import Run

OVER_SEEDS = " of the mean over seeds (their sampling errors, and their spread where it is larger)"
WORDS = {"missing": "-", "undefined": "undef."}  # every other status is its own word


@dataclass(frozen=True)
class Head:
    """A column's head: its group ("" where there are none), its heading (lines), and the better direction."""

    group: str
    heading: str
    better: Better | None = None


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        value: the measured number; None where there is none.
        word: shown in place of a number: "failed", "skipped", "undef.", "-", or a claimed value.
        claimed: whether `word` is a value that a paper claims.
        mark: "best", "tied" or "".
        notes: indices of its footnotes.
        facts: task, method, metric, scope and status; only the CSV shows them.
    """

    value: Value | None = None
    word: str = ""
    claimed: bool = False
    mark: str = ""
    notes: tuple[int, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row: the method's name, its footnotes, and a cell per head."""

    label: str
    notes: tuple[int, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A filled template.

    Attributes:
        template: that was filled.
        heads: of the columns.
        blocks: (title, rows); the title of a single block is "".
        notes: footnotes, numbered by letters.
        remarks: sentences under the footnotes.
    """

    template: Template
    heads: tuple[Head, ...]
    blocks: tuple[tuple[str, tuple[Row, ...]], ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]


def letter(note: int) -> str:
    """Return the letter of a footnote: a to z, then aa."""
    return letter(note // 26 - 1) + letter(note % 26) if note >= 26 else chr(ord("a") + note)


@dataclass(frozen=True)
class _Column:
    choice: ColumnChoice
    heading: str
    metric: str = ""  # of results.csv, or a column of costs.csv
    scope: str = ""
    claims: bool = False

    @property
    def better(self) -> Better | None:
        return None if self.claims else "lower" if self.choice.cost else metric(self.metric).better


@dataclass(frozen=True)
class _Line:
    """A row of the table: the method of every group, e.g. of every size of the reference set."""

    label: str
    methods: Mapping[str, str]


def build(template: Template, run: Run, claims: Mapping[tuple[Task, str], Claim] | None = None) -> Table:
    """Fill a template.

    Args:
        template: columns and options.
        run: a finished run.
        claims: as `bench.report.paper.claims.read_claims` returns them; None for a table without claims.

    Raises:
        UnknownName: the run does not have a metric, scope, cost or method's field.
        ConfigError: a file of the run cannot be read or contradicts another, or there are claims but no column of
            the template is of their metric or has `claimed: true`.
    """
    beside = None if claims is None else _beside(template, next((c.metric for c in claims.values()), ""))
    return _Builder(template, run, claims, beside).table()


def _beside(template: Template, claimed: str) -> ColumnChoice:
    """Return the column that claims stand beside: the one of their metric, else the one that is marked."""
    of_metric = [c for c in template.columns if claimed and c.metric == claimed]
    marked = [c for c in template.columns if c.claimed]
    if not of_metric and not marked:
        raise ConfigError(
            f"template {template.template} must have a column with `claimed: true`, or of the metric that the claims "
            "name, to show --claimed beside"
        )
    return (of_metric or marked)[0]


@dataclass
class _Builder:
    template: Template
    run: Run
    claims: Mapping[tuple[Task, str], Claim] | None
    beside: ColumnChoice | None  # the column that the claims stand beside
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def table(self) -> Table:
        columns = [c for choice in self.template.columns for c in self._columns(choice)]
        if not columns:
            raise ConfigError(
                f"template {self.template.template}: {self.run.file} has none of its columns; choose another"
            )
        by_task = self.template.across == "task"
        groups, lines = self._lines()
        tasks: list[list[Task]] = [self.run.tasks] if by_task else [[task] for task in self.run.tasks]
        names = [task.name for task in self.run.tasks] if by_task else groups
        heads = [Head(name, c.heading, c.better) for name in names for c in columns]
        blocks = []
        for block in tasks:
            groups_of = [(task, group) for task in block for group in groups]
            rows = [
                Row(
                    line.label,
                    self._guided(line),
                    tuple(
                        self._cell(task, line.methods.get(group, ""), c) for task, group in groups_of for c in columns
                    ),
                )
                for line in lines
            ]
            blocks.append(("" if by_task else block[0].name, tuple(rows)))
        remarks = tuple(self._remarks(columns, blocks))
        return Table(self.template, tuple(heads), tuple(blocks), tuple(self.notes), remarks)

    def _columns(self, choice: ColumnChoice) -> list[_Column]:
        if choice.cost is not None:
            has = self.run.has_cost(choice.cost)
            columns = [_Column(choice, choice.heading, choice.cost)] if has else []
            if not columns and not choice.optional:
                raise self.run.no_cost(choice.cost)
        else:
            columns = self._scored(choice, choice.metric or "")
        if not columns:
            self.left_out.append(" ".join(choice.heading.split()))
        if choice is not self.beside:
            return columns
        named = next((claim.metric for claim in (self.claims or {}).values()), "")
        claimed = [
            _Column(
                choice, "claimed" if named in ("", c.metric) else f"claimed {named}", named or c.metric, c.scope, True
            )
            for c in columns
        ]
        return [c for pair in zip(columns, claimed, strict=True) for c in pair]

    def _scored(self, choice: ColumnChoice, pattern: str) -> list[_Column]:
        keys = [key for key in self.run.by_key if fnmatchcase(key.metric, pattern)]
        if not keys and not choice.optional:
            raise UnknownName(f"metric of {self.run.file}", pattern, {k.metric for k in self.run.by_key})
        of_task = [k for k in keys if choice.scope == "task" and k.scope == k.task.attributes]
        in_scope = of_task or [k for k in keys if fnmatchcase(k.scope, choice.scope)]
        if keys and not in_scope and not choice.optional:
            raise UnknownName(f"scope of {pattern} in {self.run.file}", choice.scope, {k.scope for k in keys})
        pairs = list(dict.fromkeys((k.metric, "task" if choice.scope == "task" else k.scope) for k in in_scope))
        headings = [choice.heading.replace("{metric}", m).replace("{scope}", s) for m, s in pairs]
        return [
            _Column(choice, heading if headings.count(heading) == 1 else f"{heading} ({m}, {s})", m, s)
            for (m, s), heading in zip(pairs, headings, strict=True)
        ]

    def _lines(self) -> tuple[list[str], list[_Line]]:
        """Return the groups of columns (one per value of the field `across`, or one group "") and the rows."""
        name = self.template.across
        if name in (None, "task"):
            return [""], [_Line(method, {"": method}) for method in (*self.run.methods, *self._claimed_only())]
        rows = self.run.rows.drop_duplicates("method")
        texts = (rows[column].astype(str) for column in ("method", "method_file", "fields"))
        fields = {method: (file, json.loads(text)) for method, file, text in zip(*texts, strict=True)}
        field_names = {key for _, values in fields.values() for key in values}
        if name not in field_names:
            raise UnknownName(f"field of any method of {self.run.file}", str(name), field_names)
        group_of = {method: _text(values.pop(name, None)) for method, (_, values) in fields.items()}
        order = sorted(dict.fromkeys(group_of.values()), key=_numbers_first)
        variants: dict[str, list[str]] = {}  # methods that differ in this field only
        for method, (file, values) in fields.items():
            variants.setdefault(json.dumps([file, values], sort_keys=True), []).append(method)
        files = [fields[methods[0]][0] for methods in variants.values()]
        lines = []
        for methods in variants.values():
            file = fields[methods[0]][0]
            alone = len(methods) > 1 and files.count(file) == 1
            by_group = {group_of[method]: method for method in methods}
            if len(by_group) < len(methods):  # the same method twice, under two labels
                lines += [_Line(method, {group_of[method]: method}) for method in methods]
            else:
                lines.append(_Line(file if alone else methods[0], by_group))
        return order, [*lines, *(_Line(method, {order[0]: method}) for method in self._claimed_only())]

    def _claimed_only(self) -> list[str]:
        """Return the methods that have a claim and were not run."""
        return [m for m in dict.fromkeys(method for _, method in self.claims or {}) if m not in self.run.methods]

    def _cell(self, task: Task, method: str, column: _Column) -> Cell:
        facts = {"task": task.name, "method": method, "metric": column.metric, "scope": column.scope}
        if not method:
            return Cell(word=WORDS["missing"], facts=facts | {"status": "missing"})
        if column.claims:
            claim = (self.claims or {}).get((task, method))
            facts |= {"metric": f"claimed {column.metric}"}
            if claim is None:
                return Cell(word="", facts=facts | {"status": "missing"})
            return Cell(
                word=claim.value, claimed=True, notes=self._noted(claim.citation), facts=facts | {"status": "ok"}
            )
        if method not in self.run.methods:
            return Cell(word=WORDS["missing"], notes=self._noted("not run"), facts=facts | {"status": "missing"})
        if column.choice.cost is not None:
            cost = self.run.cost(task, method, column.metric)
            if cost is not None:
                return Cell(Value(cost), facts=facts | {"status": "ok"})
            key = Key(task, method, "", "")
            return self._without(key, facts, "costs.csv has no such row")
        key = Key(task, method, column.metric, task.attributes if column.scope == "task" else column.scope)
        facts |= {"scope": key.scope}
        value = self.run.value(key)
        if value is None:
            return self._without(key, facts, "the run has no such score")
        ranking_metric = column.metric == self.run.ranking_metric and column.scope == "task"
        mark = self.run.mark(task, method) if ranking_metric else ""
        return Cell(value, mark=mark, notes=self._short(key, value), facts=facts | {"status": "ok"})

    def _without(self, key: Key, facts: dict[str, str], missing: str) -> Cell:
        status, reason = self.run.reason(key)
        if not status or status == "missing":
            status, reason = "missing", missing
        sentence = f"{status}: {reason}" if status != "missing" else missing
        return Cell(word=WORDS.get(status, status), notes=self._noted(sentence), facts=facts | {"status": status})

    def _short(self, key: Key, value: Value) -> tuple[int, ...]:
        """Return footnotes of a number with fewer seeds, or another number of samples, than the other numbers."""
        notes: tuple[int, ...] = ()
        status, reason = self.run.reason(key)
        if status:
            notes += self._noted(f"{value.seeds} of {len(seeds_of(self.run))} seeds; another is {status}: {reason}")
        if value.n != self.run.rows["n_asked"].iloc[0]:
            size = "different numbers of" if value.n is None else str(value.n)
            notes += self._noted(f"from {size} samples")
        return notes

    def _guided(self, line: _Line) -> tuple[int, ...]:
        rows = self.run.rows
        if rows.loc[rows["method"].isin(list(line.methods.values())), "guided_by_classifier"].any():
            return self._noted("guided by its attribute classifier")
        return ()

    def _noted(self, text: str) -> tuple[int, ...]:
        if text not in self.notes:
            self.notes.append(text)
        return (self.notes.index(text),)

    def _remarks(self, columns: Sequence[_Column], blocks: Iterable[tuple[str, tuple[Row, ...]]]) -> Iterable[str]:
        cells = [cell for _, rows in blocks for row in rows for cell in row.cells]
        if any(cell.value and cell.value.low is not None for cell in cells):
            several = OVER_SEEDS if len(seeds_of(self.run)) > 1 else ""
            yield {
                "brackets": f"In brackets: the 95 % interval{several}.",
                "plus_minus": f"±: the larger distance to an end of the 95 % interval{several}.",
            }[self.template.interval]
            sizes = [f"{c.heading} {size}" for c in columns if not c.claims and (size := _detectable(c, cells))]
            yield (
                "Smallest difference of two rows that their intervals tell in 80 of 100 runs (5 %, one test): "
                f"{'; '.join(dict.fromkeys(sizes))}."
            )
        marked = list(
            dict.fromkeys(
                c.heading for c in columns if c.metric == self.run.ranking_metric and c.scope == "task" and not c.claims
            )
        )
        if any(cell.mark for cell in cells):
            mean = " of the mean over seeds" if len(seeds_of(self.run)) > 1 else ""
            yield (
                f"{' and '.join(marked)}: bold is the best of its task, underlined is not "
                f"significantly different from it (paired bootstrap{mean}, Holm, 5 %); other columns are not marked."
            )
        yield protocol(self.run)
        if any(column.claims for column in columns):
            yield "Claimed: as printed in the source, under the source's protocol."
        if self.left_out:
            yield f"Not recorded by this run: {', '.join(self.left_out)}."


def _detectable(column: _Column, cells: Sequence[Cell]) -> str:
    """Return the smallest difference that two rows of a column show, by the median interval; empty without one."""
    ends = [
        (cell.value.value, cell.value.low, cell.value.high)
        for cell in cells
        if cell.value is not None
        and cell.value.low is not None
        and cell.value.high is not None
        and (cell.facts["metric"], column.scope in ("task", cell.facts["scope"])) == (column.metric, True)
    ]
    if not ends:
        return ""
    value, low, high = np.array(ends).T
    rows = Estimate.of_interval(value, low, high, metric(column.metric).scale.freedom)
    error = 2**0.5 * np.median((rows.below + rows.above) / 2)
    return f"{float(minimum_detectable_difference(np.asarray(error))):.2g}"


def _text(value: object) -> str:
    return "any" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)


def _numbers_first(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
