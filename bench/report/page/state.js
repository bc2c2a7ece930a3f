// What the reader sees is one record, kept in the URL's hash: a link shows the same view again.
const ALL = "*";
const COLUMNS = DATA.columns;
const columnNumber = new Map(COLUMNS.map((column, i) => [column.name, i]));
const taskNumber = new Map(DATA.tasks.map((task, i) => [task.name, i]));
const methodNumber = new Map(DATA.methods.map((method, i) => [method.name, i]));
const inTask = new Map(); // task's number (or ALL) to the numbers of the columns that have a value there

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
  columns: null, // names; null for those shown before asking
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
const parts = []; // [the fields that a part depends on, what draws it]

function part(fields, draw) {
  parts.push([new Set(fields), draw]);
}

function readHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const found = { ...START };
  for (const name of Object.keys(START)) {
    if (name === "columns") found.columns = asked.has("columns") ? asked.getAll("columns").filter(Boolean) : null;
    else if (asked.has(name)) found[name] = asked.get(name);
  }
  if (found.task !== ALL && !taskNumber.has(found.task)) found.task = START.task;
  if (!columnNumber.has(found.metric)) found.metric = START.metric;
  return found;
}

function writeHash() {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) {
    if (name === "columns") {
      if (value !== null) for (const column of value.length ? value : [""]) said.append(name, column);
    } else if (value !== START[name]) said.set(name, value);
  }
  const text = said.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Change the view and draw what depends on what changed.
function show(changes) {
  const changed = Object.keys(changes).filter((name) => !same(view[name], changes[name]));
  Object.assign(view, changes);
  writeHash();
  for (const [fields, draw] of parts) if (changed.some((name) => fields.has(name))) draw();
}

const chosenTask = () => (view.task === ALL ? ALL : taskNumber.get(view.task));
const oneTask = () => (view.task === ALL ? 0 : taskNumber.get(view.task)); // for what shows one task only
const chosenColumn = () => columnNumber.get(view.metric);
const rowName = (row) => `${DATA.tasks[row.task].name} / ${DATA.methods[row.method].name}`;

// Columns with a value in the chosen task, by the card they are on: [[card, [[name, text], ...]], ...].
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
