// Costs of the methods, cards of the metrics, and settings that all rows share.
function drawCosts() {
  const key = chosenTask();
  const columns = [...COLUMNS.keys()].filter((i) => COLUMNS[i].cost && inTask.get(key)?.has(i));
  const rows = DATA.rows.filter((row) => (key === ALL || row.task === key) && columns.some((i) => row.cells[i]));
  const valid = NAMES[view.costsort] || columns.some((i) => COLUMNS[i].name === view.costsort);
  const by = valid ? view.costsort : "";
  const descending = view.costdir === "desc";
  const sorted = by ? ordered(rows, NAMES[by] ?? ((row) => value(row, columnNumber.get(by))), descending) : rows;
  const sort = (name) => () => {
    show({ costsort: name, costdir: by === name && !descending ? "desc" : "asc" });
    byId("costs-table").querySelector("th:not([aria-sort=none]) button")?.focus();
  };
  const order = (name) => (by === name ? (descending ? "descending" : "ascending") : null);
  const heads = [sortHead("method", order("method"), sort("method"))];
  if (key === ALL) heads.push(sortHead("task", order("task"), sort("task")));
  heads.push(...columns.map((i) => sortHead(COLUMNS[i].label, order(COLUMNS[i].name), sort(COLUMNS[i].name), { class: "number" })));
  const most = new Map(columns.map((i) => [i, Math.max(...rows.map((row) => value(row, i) ?? 0))]));
  const least = new Map(columns.map((i) => [i, Math.min(...rows.map((row) => value(row, i) ?? 0))]));
  const bar = (row, i) => most.get(i) === least.get(i) ? null : element("i", { class: "bar", "aria-hidden": "true", style: { width: percent((value(row, i) ?? 0) / most.get(i)) } });
  const body = sorted.map((row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, ...breakable(NAMES.method(row))),
      key === ALL ? element("td", { class: "task" }, NAMES.task(row)) : null,
      ...columns.map((i) => (row.cells[i] ? element("td", { class: "number" }, row.cells[i][3][0], bar(row, i)) : element("td", { class: "number empty" }, "–"))),
    ),
  );
  const where = key === ALL ? "all tasks" : view.task;
  byId("costs-table").replaceChildren(element("caption", { class: "visually-hidden" }, `Cost on ${where}`), element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body));
  const timed = DATA.costs ? ` Seconds were measured on the machine of the run (${DATA.costs}), one thread per worker; compare them within this run only.` : "";
  byId("costs-about").textContent = `${where[0].toUpperCase()}${where.slice(1)}. NFE: network function evaluations. A fit is done once and serves all images of a cell.${timed} ${DATA.no_costs}`.trim();
}

function drawCards() {
  const term = (name, text) => [element("dt", {}, name), element("dd", {}, text)];
  const cards = DATA.cards.map((card) => {
    const columns = card.columns.map((column) =>
      element("li", {}, element("code", {}, column.pattern), ` ${column.better}, ${column.range}${column.unit ? `, ${column.unit}` : ""}, interval: ${column.interval}`),
    );
    const details = element("details", {}, element("summary", {}, "Definition and limits", hidden(` of ${card.name}`)), element("dl", {}, ...term("formula", card.formula), ...term("smallest n", card.min_n), ...term("bias", card.bias), ...term("interval", card.interval), ...term("limits", card.limits)));
    return element("article", {}, element("h3", {}, card.name), element("p", {}, card.summary), element("ul", {}, ...columns), element("p", { class: "muted source" }, card.source), details);
  });
  const described = new Set(DATA.cards.flatMap((card) => card.metrics));
  const undescribed = [...new Set(COLUMNS.map((column) => column.metric))].filter((name) => name && !described.has(name));
  const note = undescribed.length ? [element("article", {}, element("h3", {}, "Without a card"), element("p", {}, `No evaluator of this installation describes these metrics: ${undescribed.join(", ")}.`))] : [];
  byId("cards").replaceChildren(...cards, ...note);
}

function drawProtocol() {
  byId("protocol-facts").replaceChildren(...DATA.facts.map(([name, texts]) => fact(name, texts)), fact("seed", DATA.seeds.map(String)), fact("target of the tasks", DATA.tasks.map((task) => `${task.attributes} = ${task.target}`)));
}

drawOnChange(["task", "costsort", "costdir"], drawCosts);
