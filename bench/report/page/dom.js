// Elements are built from attributes and text only. No markup is parsed, so names from a run cannot become markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key, value);
    else if (key === "style") for (const [name, text] of Object.entries(value)) node.style.setProperty(name, text);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// A name that may break across lines after "_", "-", "+" or "/".
const breakable = (text) => text.split(/(?<=[_+/-])/).flatMap((piece, i) => (i ? [element("wbr"), piece] : [piece]));

const hidden = (text) => element("span", { class: "visually-hidden" }, text);

// Fill a select. Groups are [name, [[value, text], ...]] and become <optgroup>; the group "" does not.
function fillSelect(select, groups, value) {
  const option = ([name, text]) => element("option", { value: name }, text);
  select.replaceChildren(
    ...groups.flatMap(([name, options]) =>
      name === "" ? options.map(option) : [element("optgroup", { label: name }, ...options.map(option))],
    ),
  );
  select.value = value;
}

// A column head that sorts: its button names the column, aria-sort gives the order.
function sortHead(text, sorted, onSort, attributes = {}, ...extra) {
  const arrow = sorted === "ascending" ? "▲" : sorted === "descending" ? "▼" : "↕";
  const glyph = element("span", { class: "arrow", "aria-hidden": "true" }, arrow);
  const button = element("button", { type: "button", click: onSort }, ...breakable(text), "\u00a0", glyph);
  return element("th", { scope: "col", "aria-sort": sorted || "none", ...attributes }, button, ...extra);
}

const collator = new Intl.Collator("en", { numeric: true });

// Sort numbers by size and texts by name; missing values come last in both directions.
function ordered(rows, value, descending) {
  const sign = descending ? -1 : 1;
  return rows
    .map((row, index) => [row, value(row), index])
    .sort(([, a, i], [, b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return sign * (typeof a === "number" ? a - b : collator.compare(a, b)) || i - j;
    })
    .map(([row]) => row);
}
