// The leaderboard: a row per method (and task), the chosen metric with its interval drawn, other columns beside it.
const NAMES = { method: (row) => DATA.methods[row.method].name, task: (row) => DATA.tasks[row.task].name };

function boardColumns() {
  const available = inTask.get(chosenTask()) ?? new Set();
  const chosen = view.columns === null ? null : new Set(view.columns);
  return [...COLUMNS.keys()].filter(
    (i) => i !== chosenColumn() && available.has(i) && (chosen ? chosen.has(COLUMNS[i].name) : COLUMNS[i].shown),
  );
}

const value = (row, column) => row.cells[column]?.[0] ?? null;
const MARKED = { best: "best", tied: "tied" };

// The text that the filter searches: method, task, mark and status.
function searched(row) {
  const mark = MARKED[row.cells[chosenColumn()]?.[4]] ?? "";
  return `${NAMES.method(row)} ${NAMES.task(row)} ${mark} ${row.status}`.toLowerCase();
}

function boardRows() {
  const key = chosenTask();
  const words = view.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = DATA.rows.filter((row) => key === ALL || row.task === key);
  const matching = rows.filter((row) => words.every((word) => searched(row).includes(word)));
  const { by, descending } = boardOrder();
  const sorted = ordered(matching, NAMES[by] ?? ((row) => value(row, columnNumber.get(by))), descending);
  // Values of different tasks are not comparable, so rows stay grouped by task.
  const grouped = key === ALL && !NAMES[by] ? ordered(sorted, (row) => row.task, false) : sorted;
  return { rows: grouped, all: rows };
}

function boardOrder() {
  const valid = NAMES[view.sort] || columnNumber.has(view.sort);
  const by = valid ? view.sort : view.metric;
  const natural = !NAMES[by] && COLUMNS[columnNumber.get(by)].better === "higher";
  return { by, descending: valid && view.dir ? view.dir === "desc" : natural };
}

function sortBoard(by) {
  const now = boardOrder();
  const natural = !NAMES[by] && COLUMNS[columnNumber.get(by)].better === "higher";
  const descending = now.by === by ? !now.descending : natural;
  show({ sort: by, dir: descending ? "desc" : "asc" });
  byId("board").querySelector("th:not([aria-sort=none]) button")?.focus();
}

function ticks(low, high) {
  const rough = (high - low) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const digits = Math.max(0, Math.ceil(-Math.log10(step)) + (step / power === 2.5 ? 1 : 0));
  const marks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) marks.push([k * step, (k * step).toFixed(digits)]);
  return marks;
}

// The extent of the drawn intervals; it starts at zero unless that would squeeze them.
function extent(rows, column) {
  const cells = rows.map((row) => row.cells[column]).filter(Boolean);
  if (!cells.length) return null;
  let low = Math.min(...cells.map((cell) => cell[1] ?? cell[0]));
  let high = Math.max(...cells.map((cell) => cell[2] ?? cell[0]));
  if (low > 0 && low < 0.5 * high) low = 0;
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2];
  const margin = 0.03 * (high - low);
  return { low: low === 0 ? 0 : low - margin, high: high + margin };
}

const percent = (share) => `${(100 * share).toFixed(3)}%`;

function drawnInterval(cell, column, span) {
  const at = (x) => (x - span.low) / (span.high - span.low);
  const track = element("div", { class: "track" });
  if (cell[5] !== null && COLUMNS[column].better === "lower") {
    track.append(element("i", { class: "bound", style: { left: percent(at(Math.max(span.low, 0))), width: percent(at(cell[5]) - at(Math.max(span.low, 0))) } }));
  }
  if (cell[1] !== null) track.append(element("i", { class: "whisker", style: { left: percent(at(cell[1])), width: percent(at(cell[2]) - at(cell[1])) } }));
  track.append(element("i", { class: "dot", style: { left: percent(at(cell[0])) } }));
  return track;
}

function number(cell) {
  const [text, ...ends] = cell[3];
  const ending = ends.length ? element("span", { class: "ends" }, ` [${ends.join(", ")}]`) : null;
  const seeds = cell[7] < DATA.seeds.length ? element("span", { class: "ends" }, ` (${cell[7]} of ${DATA.seeds.length} seeds)`) : null;
  return [element("span", { class: "value" }, text), ending, seeds];
}

function otherCell(row, column) {
  const cell = row.cells[column];
  if (!cell) return element("td", { class: "number empty" }, "–");
  const mark = MARKED[cell[4]];
  const spoken = mark ? hidden(mark === "best" ? ", best" : ", not significantly different from the best") : null;
  return element("td", { class: `number ${mark ?? ""}` }, ...number(cell), spoken);
}

function boardRow(row, columns, span) {
  const main = chosenColumn();
  const open = view.row === rowName(row);
  const cell = row.cells[main];
  const mark = MARKED[cell?.[4]];
  const name = NAMES.method(row);
  const button = element(
    "button",
    { type: "button", class: "opener", "aria-expanded": String(open), "aria-controls": open ? "provenance" : null, title: "Show everything behind this row", click: () => toggleRow(row) },
    element("span", { class: "chevron", "aria-hidden": "true" }, "›"),
    element("span", { class: "name" }, ...breakable(name)),
  );
  const guided = row.guided ? element("span", { class: "badge warn" }, "guided by its classifier") : null;
  const cells = [element("th", { scope: "row" }, button, guided)];
  if (chosenTask() === ALL) cells.push(element("td", { class: "task" }, NAMES.task(row)));
  if (row.status !== "ok" && !Object.keys(row.cells).length) {
    const why = element("span", { class: "why" }, ` ${row.reason}`);
    cells.push(element("td", { class: "broken", colspan: 3 + columns.length }, element("span", { class: "badge bad" }, row.status), why));
  } else {
    cells.push(
      cell ? element("td", { class: "number main" }, ...number(cell)) : element("td", { class: "number main empty" }, "–"),
      element("td", { class: "drawn", "aria-hidden": "true" }, cell ? drawnInterval(cell, main, span) : null),
      element("td", { class: "marks" }, mark ? element("span", { class: `badge ${mark}` }, mark) : null),
      ...columns.map((column) => otherCell(row, column)),
    );
  }
  const line = element("tr", { class: `${mark ?? ""} ${open ? "open" : ""}`, "data-row": rowName(row) }, ...cells);
  if (!open) return [line];
  const detail = element("td", { colspan: cells.length + (cells.at(-1).colSpan ?? 1) - 1 }, provenance(row));
  return [line, element("tr", { class: "detail", id: "provenance" }, detail)];
}

function toggleRow(row) {
  show({ row: view.row === rowName(row) ? "" : rowName(row) });
  const again = [...byId("board").querySelectorAll("tr[data-row]")].find((line) => line.dataset.row === rowName(row));
  again?.querySelector("button").focus();
}

function boardHead(columns, span) {
  const { by, descending } = boardOrder();
  const sorted = (name) => (by === name ? (descending ? "descending" : "ascending") : null);
  const head = (name, text, attributes = {}, ...extra) => sortHead(text, sorted(name), () => sortBoard(name), attributes, ...extra);
  const cells = [head("method", "method")];
  if (chosenTask() === ALL) cells.push(head("task", "task"));
  const axis = element("div", { class: "axis", "aria-hidden": "true" });
  if (span) {
    for (const [x, text] of ticks(span.low, span.high)) axis.append(element("span", { style: { left: percent((x - span.low) / (span.high - span.low)) } }, text));
  }
  const main = COLUMNS[chosenColumn()];
  cells.push(
    head(main.name, directed(main), { class: "number main" }),
    element("th", { scope: "col", class: "drawn" }, hidden("interval, drawn"), axis),
    element("th", { scope: "col", class: "marks" }, hidden("result of the significance test")),
    ...columns.map((i) => head(COLUMNS[i].name, directed(COLUMNS[i]), { class: "number" })),
  );
  return element("thead", {}, element("tr", {}, ...cells));
}

let built = { drawn: "", lines: new Map() }; // rows of the current view, reused while they are only sorted or filtered

function drawBoard() {
  const { rows, all } = boardRows();
  const columns = boardColumns();
  const span = extent(all, chosenColumn());
  const body = element("tbody");
  const drawn = JSON.stringify([view.task, view.metric, view.columns, view.row]);
  if (built.drawn !== drawn) built = { drawn, lines: new Map() };
  for (const row of rows) {
    if (!built.lines.has(row)) built.lines.set(row, boardRow(row, columns, span));
    body.append(...built.lines.get(row));
  }
  if (!rows.length) body.append(element("tr", {}, element("td", { class: "nothing", colspan: 6 + columns.length }, "No row matches all of these words.")));
  const where = view.task === ALL ? "all tasks" : view.task;
  byId("board").replaceChildren(element("caption", { class: "visually-hidden" }, `${view.metric} on ${where}`), boardHead(columns, span), body);
  byId("count").textContent = rows.length === all.length ? `${all.length} rows` : `${rows.length} of ${all.length} rows`;
  drawCaptions(all);
}

// The text around the table: a summary of the chosen metric, and the meaning of marks and shading.
function drawCaptions(rows) {
  const column = COLUMNS[chosenColumn()];
  const card = DATA.cards.find((card) => card.metrics.includes(column.metric));
  byId("about").replaceChildren(element("code", {}, column.label), card ? `: ${card.summary}` : "");
  const cells = rows.map((row) => row.cells[chosenColumn()]).filter(Boolean);
  const notes = [];
  if (cells.some((cell) => cell[1] !== null)) notes.push(DATA.seeds.length > 1 ? "In brackets: the 95 % interval of the mean over seeds: their sampling errors, and their spread where it is larger." : "In brackets: the 95 % interval.");
  if (cells.some((cell) => cell[5] !== null)) notes.push("Shaded: up to the noise floor, the 95th percentile of the metric for a sampler that matches the target exactly at this n (and number of seeds). Values there cannot be told from zero.");
  if (column.better === null) notes.push("Neither direction is better.");
  else if (cells.some((cell) => cell[4])) {
    const test = column.metric === DATA.ranking_metric ? `paired bootstrap${DATA.seeds.length > 1 ? " of the mean over seeds" : ""}` : "the test of run_bench.py compare";
    notes.push(`tied: not significantly different from the best of its task (${test}, Holm, 5 %).`);
  } else if (cells.length > 1) notes.push("This metric is not tested, so there are no marks.");
  const others = boardColumns();
  if (rows.some((row) => others.some((i) => row.cells[i]?.[4]))) notes.push("In other columns the best value is bold, and values not significantly different from it are underlined.");
  byId("legend").textContent = notes.join(" ");
}

function drawChooser() {
  const shownNow = new Set(boardColumns().map((i) => COLUMNS[i].name));
  const boxes = columnGroups(chosenTask(), true).map(([group, options]) =>
    element(
      "fieldset",
      {},
      element("legend", {}, group),
      ...options
        .filter(([name]) => name !== view.metric)
        .map(([name, text]) => {
          const box = element("input", { type: "checkbox", value: name, checked: shownNow.has(name), change: choose });
          return element("label", {}, box, ` ${text}`);
        }),
    ),
  );
  byId("columns").replaceChildren(...boxes);
}

function choose() {
  const boxes = [...byId("columns").querySelectorAll("input")];
  show({ columns: boxes.filter((box) => box.checked).map((box) => box.value) });
}

drawOnChange(["task", "metric", "sort", "dir", "filter", "columns", "row"], drawBoard);
drawOnChange(["task", "metric"], drawChooser);
