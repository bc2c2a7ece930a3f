// Everything that results.csv holds on a row, as written there.
const recordText = (column, line) => column.texts[column.codes === null ? 0 : column.codes[line]];

function provenance(row) {
  const { columns, lines } = DATA.records;
  const fixed = [];
  const varying = [];
  for (const column of columns) {
    const first = recordText(column, row.lines[0]);
    if (row.lines.every((line) => recordText(column, line) === first)) fixed.push([column.name, first]);
    else varying.push(column);
  }
  const cell = row.cells[chosenColumn()];
  const exact = cell
    ? element("p", { class: "exact" }, element("code", {}, `${COLUMNS[chosenColumn()].label} = ${cell[0]}`), cell[1] === null ? "" : element("span", {}, ", 95 % interval ", element("code", {}, `[${cell[1]}, ${cell[2]}]`)), cell[6] === null ? "" : `, from ${cell[6]} samples`, DATA.seeds.length > 1 ? `, ${cell[7]} of ${DATA.seeds.length} seeds` : "")
    : null;
  const facts = element("dl", { class: "facts-list" }, ...fixed.map(([name, text]) => fact(name, [text])));
  const head = element("tr", {}, element("th", { scope: "col" }, "line"), ...varying.map((column) => element("th", { scope: "col" }, column.name)));
  const body = row.lines.map((line) =>
    element("tr", {}, element("th", { scope: "row" }, String(lines[line])), ...varying.map((column) => element("td", {}, recordText(column, line)))),
  );
  const caption = element("caption", {}, `Its ${row.lines.length} ${row.lines.length === 1 ? "line" : "lines"} in results.csv, numbers in full precision`);
  const table = element("table", { class: "records" }, caption, element("thead", {}, head), element("tbody", {}, ...body));
  const box = element("div", { class: "scroll records-scroll", tabindex: "0", role: "region", "aria-label": `lines of ${rowName(row)}` }, table);
  return element("div", { class: "provenance" }, element("h3", {}, rowName(row)), row.reason ? element("p", {}, `${row.status}: ${row.reason}`) : null, exact, facts, box);
}

function fact(name, texts) {
  const shown = texts.length ? texts.map((text) => (text === "" ? element("span", { class: "muted" }, "blank") : element("code", {}, text))) : [element("span", { class: "muted" }, "blank")];
  return element("div", {}, element("dt", {}, name), element("dd", {}, ...shown));
}
