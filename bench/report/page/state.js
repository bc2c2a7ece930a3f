// The view is one record, written to the URL's hash, so that a link restores the same view.
const ALL = "*";
const COLUMNS = DATA.columns;
const columnNumber = new Map(COLUMNS.map((column, i) => [column.name, i]));
const taskNumber = new Map(DATA.tasks.map((task, i) => [task.name, i]));
const methodNumber = new Map(DATA.methods.map((method, i) => [method.name, i]));
const inTask = new Map(); // index of the task (or ALL) to the indices of the columns with a value there

for (const row of DATA.rows) {
  for (const key of [row.task, ALL]) {
    if (!inTask.has(key)) inTask.set(key, new Set());
    for (const column of Object.keys(row.cells)) inTask.get(key).add(Number(column));
  }
}

const START = {
  task: DATA.tasks[0].name,
  metric: columnNumber.has(DATA.ranking_metric) ? DATA.ranking_metric : COLUMNS[0].name,
  sort: "",
  dir: "",
  filter: "",
  columns: null, // names; null for the default columns
  row: "",
  x: "",
  y: "",
  noise: "1",
  method: "",
  costsort: "",
  costdir: "",
  at: "",
};
const view = { ...START };
const sections = []; // [fields that a section depends on, function that draws it]

function drawOnChange(fields, draw) {
  sections.push([new Set(fields), draw]);
}

function readHash() {
  const params = new URLSearchParams(location.hash.slice(1));
  const restored = { ...START };
  for (const name of Object.keys(START)) {
    if (name === "columns") restored.columns = params.has("columns") ? params.getAll("columns").filter(Boolean) : null;
    else if (params.has(name)) restored[name] = params.get(name);
  }
  if (restored.task !== ALL && !taskNumber.has(restored.task)) restored.task = START.task;
  if (!columnNumber.has(restored.metric)) restored.metric = START.metric;
  return restored;
}

function writeHash() {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) {
    if (name === "columns") {
      if (value !== null) for (const column of value.length ? value : [""]) params.append(name, column);
    } else if (value !== START[name]) params.set(name, value);
  }
  const text = params.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Change the view and draw the sections that depend on the changed fields.
function show(changes) {
  const changed = Object.keys(changes).filter((name) => !same(view[name], changes[name]));
  Object.assign(view, changes);
  writeHash();
  for (const [fields, draw] of sections) if (changed.some((name) => fields.has(name))) draw();
}

const chosenTask = () => (view.task === ALL ? ALL : taskNumber.get(view.task));
const oneTask = () => (view.task === ALL ? 0 : taskNumber.get(view.task)); // for sections that show a single task
const chosenColumn = () => columnNumber.get(view.metric);
const rowName = (row) => `${DATA.tasks[row.task].name} / ${DATA.methods[row.method].name}`;

// Columns with a value in the chosen task, grouped by card: [[card, [[name, text], ...]], ...].
function columnGroups(key, withCosts) {
  const owner = new Map(DATA.cards.flatMap((card) => card.metrics.map((metric) => [metric, card.name])));
  const groups = new Map();
  for (const [i, column] of COLUMNS.entries()) {
    if (!inTask.get(key)?.has(i) || (column.cost && !withCosts)) continue;
    const group = column.cost ? "cost" : (owner.get(column.metric) ?? "other");
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push([column.name, directed(column)]);
  }
  return [...groups];
}

const ARROWS = { lower: "\u00a0↓", higher: "\u00a0↑" };
const directed = (column) => column.label + (ARROWS[column.better] ?? "");
