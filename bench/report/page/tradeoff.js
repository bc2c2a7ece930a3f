// Two numbers per method of a task against each other, with intervals and the Pareto front of the estimates.
const usable = (i) => inTask.get(oneTask())?.has(i);

function firstColumn(test) {
  const index = COLUMNS.findIndex((column, i) => usable(i) && test(column));
  return index < 0 ? null : COLUMNS[index].name;
}

function axes() {
  const valid = (name) => columnNumber.has(name) && usable(columnNumber.get(name));
  const frechet = firstColumn((c) => c.metric.startsWith("frechet_") && c.scope.endsWith("balanced")) ?? firstColumn((c) => c.metric.startsWith("frechet_"));
  const any = firstColumn(() => true);
  const x = valid(view.x) ? view.x : (frechet ?? firstColumn((c) => c.cost) ?? any);
  return { x, y: valid(view.y) ? view.y : (valid(START.metric) ? START.metric : any) };
}

function dominates(a, b, directions) {
  const gains = directions.map((better, i) => (better === "lower" ? b[i] - a[i] : a[i] - b[i]));
  return gains.every((gain) => gain >= 0) && gains.some((gain) => gain > 0);
}

// Plotly parses some markup in its texts, so names are escaped.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function arms(cells) {
  if (cells.every((cell) => cell[1] === null)) return undefined;
  return {
    type: "data",
    symmetric: false,
    array: cells.map((cell) => (cell[2] === null ? 0 : Math.max(0, cell[2] - cell[0]))),
    arrayminus: cells.map((cell) => (cell[1] === null ? 0 : Math.max(0, cell[0] - cell[1]))),
    thickness: 1.2,
    width: 0,
  };
}

function hoverText(row, x, y) {
  const lines = [x, y].map((column) => {
    const [text, ...ends] = row.cells[column][3];
    return `${plain(COLUMNS[column].label)} ${text}${ends.length ? ` [${ends.join(", ")}]` : ""}`;
  });
  return [`<b>${plain(NAMES.method(row))}</b>`, ...lines].join("<br>");
}

const MANY = 40; // more methods than this share one trace, without a legend

function crowd(rows, x, y) {
  const methods = rows.map((row) => DATA.methods[row.method]);
  const [across, up] = [x, y].map((column) => rows.map((row) => row.cells[column]));
  return {
    type: "scatter",
    mode: "markers",
    showlegend: false,
    x: across.map((cell) => cell[0]),
    y: up.map((cell) => cell[0]),
    error_x: arms(across) && { ...arms(across), color: colour("--line-strong") },
    error_y: arms(up) && { ...arms(up), color: colour("--line-strong") },
    marker: { color: methods.map((method) => lifted(method.colour)), symbol: methods.map((method) => method.symbol), size: 8 },
    hovertext: rows.map((row) => hoverText(row, x, y)),
    hoverinfo: "text",
    customdata: rows.map(rowName),
  };
}

function trace(row, x, y) {
  const method = DATA.methods[row.method];
  const [across, up] = [row.cells[x], row.cells[y]];
  return {
    type: "scatter",
    mode: "markers",
    name: plain(method.name),
    x: [across[0]],
    y: [up[0]],
    error_x: arms([across]) && { ...arms([across]), color: lifted(method.colour) },
    error_y: arms([up]) && { ...arms([up]), color: lifted(method.colour) },
    marker: { color: lifted(method.colour), symbol: method.symbol, size: 12, line: { color: colour("--edge"), width: method.symbol.endsWith("-open") ? 2 : 0.8 } },
    hovertext: [hoverText(row, x, y)],
    hoverinfo: "text",
    customdata: [rowName(row)],
  };
}

// A label beside a point of the front, on the side where no point of the front can be.
function frontLabel(row, x, y, directions) {
  const left = directions[0] === "lower";
  return {
    x: row.cells[x][0],
    y: row.cells[y][0],
    text: plain(NAMES.method(row)),
    showarrow: true,
    arrowhead: 0,
    arrowwidth: 1,
    arrowcolor: colour("--line-strong"),
    standoff: 6,
    ax: left ? -22 : 22,
    ay: directions[1] === "lower" ? 24 : -24,
    xanchor: left ? "right" : "left",
    bgcolor: colour("--panel"),
    opacity: 0.92,
    borderpad: 2,
    font: { size: 12 },
  };
}

// On a dark page the colours of the plots are mixed with white, so that dark colours stay visible.
function lifted(hex) {
  const lift = Number(colour("--lift"));
  const channels = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return `rgb(${channels.map((channel) => Math.round(channel + lift * (255 - channel))).join(",")})`;
}

function axis(column) {
  return {
    title: { text: plain(directed(COLUMNS[column])), font: { size: 13 }, standoff: 12 },
    automargin: true,
    gridcolor: colour("--line"),
    zeroline: false,
    linecolor: colour("--line-strong"),
    tickcolor: colour("--line-strong"),
    ticks: "outside",
    showline: true,
  };
}

function drawTradeoff() {
  const chosen = axes();
  const groups = columnGroups(oneTask(), true);
  fillSelect(byId("x"), groups, chosen.x);
  fillSelect(byId("y"), groups, chosen.y);
  const [x, y] = [columnNumber.get(chosen.x), columnNumber.get(chosen.y)];
  const rows = DATA.rows.filter((row) => row.task === oneTask() && row.cells[x] && row.cells[y]);
  const directions = [COLUMNS[x]?.better ?? null, COLUMNS[y]?.better ?? null];
  const points = rows.map((row) => [row.cells[x][0], row.cells[y][0]]);
  const sided = directions.every(Boolean);
  const front = sided ? rows.filter((_, i) => !points.some((point) => dominates(point, points[i], directions))) : [];
  const left = DATA.rows.filter((row) => row.task === oneTask()).length - rows.length;
  const names = ordered(front, (row) => row.cells[x][0], false).map(NAMES.method);
  const notes = [`${DATA.tasks[oneTask()].name}${view.task === ALL ? " (choose a task above for another)" : ""}.`];
  if (!sided) notes.push("No Pareto front: one of these metrics has no better direction.");
  else if (names.length) notes.push(`On the Pareto front of the estimates, from left to right: ${names.join(", ")}. Whiskers are 95 % intervals; the order of points with overlapping whiskers is uncertain.`);
  if (left) notes.push(`${left} ${left === 1 ? "method" : "methods"} without both numbers ${left === 1 ? "is" : "are"} not shown.`);
  byId("front").textContent = notes.join(" ");
  byId("plot").setAttribute("aria-label", `${chosen.y} against ${chosen.x}`);
  if (typeof Plotly === "undefined" || !rows.length) return;
  const line = ordered(front, (row) => row.cells[x][0], false);
  const path = { type: "scatter", mode: "lines", x: line.map((row) => row.cells[x][0]), y: line.map((row) => row.cells[y][0]), line: { color: colour("--muted"), width: 1.2, dash: "dot" }, hoverinfo: "skip", showlegend: false };
  const traces = [path, ...(rows.length > MANY ? [crowd(rows, x, y)] : rows.map((row) => trace(row, x, y)))];
  const narrow = byId("plot").clientWidth < 620;
  const layout = {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 62, r: 16, t: 12, b: 52 },
    height: narrow ? 520 : 460,
    annotations: front.length <= 8 && !narrow ? front.map((row) => frontLabel(row, x, y, directions)) : [],
    hovermode: "closest",
    hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--line-strong"), font: { color: colour("--ink") }, align: "left" },
    xaxis: axis(x),
    yaxis: axis(y),
    showlegend: rows.length <= MANY,
    legend: narrow ? { orientation: "h", y: -0.2, font: { size: 11 } } : { font: { size: 12 } },
  };
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], showLink: false, showEditInChartStudio: false };
  Plotly.react(byId("plot"), traces, layout, config).then((plot) => {
    plot.removeAllListeners("plotly_click");
    plot.on("plotly_click", (event) => {
      if (event.points[0].customdata) openRow(event.points[0].customdata);
    });
  });
}

function openRow(name) {
  show({ row: name, filter: "" });
  byId("provenance")?.previousElementSibling.scrollIntoView({ block: "center" });
}

drawOnChange(["task", "x", "y"], drawTradeoff);
