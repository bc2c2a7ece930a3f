// Elements are made of attributes and text alone. No markup is ever parsed, so a name from a run stays a name.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else if (key === "style") for (const [name, text] of Object.entries(value)) made.style.setProperty(name, text);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A name that may break after a "_", "-" or "+", where a reader would break it.
const breakable = (text) => text.split(/(?<=[_+/-])/).flatMap((piece, i) => (i ? [element("wbr"), piece] : [piece]));

const hidden = (text) => element("span", { class: "visually-hidden" }, text);

// A select's options, the groups as <optgroup>: groups are [name, [[value, text], ...]], "" for options without one.
function fillSelect(select, groups, value) {
  const option = ([name, text]) => element("option", { value: name }, text);
  select.replaceChildren(
    ...groups.flatMap(([name, options]) =>
      name === "" ? options.map(option) : [element("optgroup", { label: name }, ...options.map(option))],
    ),
  );
  select.value = value;
}

// A head that sorts: the button says the column, aria-sort the order.
function sortHead(text, sorted, onSort, attributes = {}, ...more) {
  const arrow = sorted === "ascending" ? "▲" : sorted === "descending" ? "▼" : "↕";
  const glyph = element("span", { class: "arrow", "aria-hidden": "true" }, arrow);
  const button = element("button", { type: "button", click: onSort }, ...breakable(text), "\u00a0", glyph);
  return element("th", { scope: "col", "aria-sort": sorted || "none", ...attributes }, button, ...more);
}

const collator = new Intl.Collator("en", { numeric: true });

// Numbers by size and texts by name; what is not there comes last whichever way the rest is sorted.
function ordered(rows, value, descending) {
  const sign = descending ? -1 : 1;
  return rows
    .map((row, place) => [row, value(row), place])
    .sort(([, a, i], [, b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return sign * (typeof a === "number" ? a - b : collator.compare(a, b)) || i - j;
    })
    .map(([row]) => row);
}
