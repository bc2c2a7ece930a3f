// The ranking over all tasks: means, groups that no test separates, costs.
const RANKING = DATA.ranking;

function drawRanking() {
  for (const node of [byId("ranking"), byId("ranking-link")]) node.hidden = RANKING.rows.length === 0;
  const left = (column) => column < 2; // the method and its groups
  const head = element("tr", {}, ...RANKING.heads.map((name, i) => element("th", { scope: "col", class: left(i) ? null : "number" }, name)));
  const body = RANKING.rows.map(([method, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, ...breakable(method)), ...cells.map((text, i) => element("td", { class: left(i + 1) ? null : "number" }, text))),
  );
  byId("ranking-table").replaceChildren(element("caption", { class: "visually-hidden" }, "Ranking over all tasks"), element("thead", {}, head), element("tbody", {}, ...body));
  byId("ranking-remarks").replaceChildren(...RANKING.remarks.map((text) => element("p", { class: "lead" }, text)));
}

drawRanking();
