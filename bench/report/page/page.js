// Controls, theme and sections; then the first view, from the URL.
const THEMES = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };

function storedTheme() {
  try {
    return localStorage.getItem("fairdiff-bench theme") ?? "auto";
  } catch {
    return "auto"; // a browser may keep nothing for files
  }
}

function applyTheme(name) {
  const theme = THEMES[name] ? name : "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").replaceChildren(THEMES[theme]);
  byId("theme").setAttribute("aria-label", `Colours: ${theme}; press for the next of auto, light and dark`);
  byId("theme").dataset.name = theme;
  try {
    localStorage.setItem("fairdiff-bench theme", theme);
  } catch {
    // likewise
  }
}

function nextTheme() {
  const names = Object.keys(THEMES);
  applyTheme(names[(names.indexOf(byId("theme").dataset.name) + 1) % names.length]);
  drawTradeoff();
}

function drawControls() {
  const tasks = DATA.tasks.map((task) => [task.name, task.name]);
  fillSelect(byId("task"), [["", tasks.length > 1 ? [...tasks, [ALL, "all tasks"]] : tasks]], view.task);
  fillSelect(byId("metric"), columnGroups(chosenTask(), true), view.metric);
  if (byId("filter").value !== view.filter) byId("filter").value = view.filter;
}

// A metric that the task has not is exchanged for the ranking_metric.
function chooseTask(name) {
  const key = name === ALL ? ALL : taskNumber.get(name);
  const kept = inTask.get(key)?.has(chosenColumn());
  show({ task: name, metric: kept ? view.metric : START.metric, row: "" });
}

function goTo(name) {
  const section = byId(name);
  if (!section || section.tagName !== "SECTION") return;
  section.focus({ preventScroll: true });
  section.scrollIntoView();
}

function drawHeader() {
  const facts = new Map(DATA.facts);
  const one = (name) => facts.get(name)?.join(", ") ?? "";
  byId("title").textContent = DATA.suite;
  const words = [
    `${DATA.methods.length} methods, ${DATA.tasks.length} ${DATA.tasks.length === 1 ? "task" : "tasks"}`,
    `${one("n_asked")} samples a cell`,
    `${DATA.seeds.length === 1 ? "seed" : "seeds"} ${DATA.seeds.join(", ")}`,
    `model ${one("model")}`,
    `${one("sampler")}, ${one("steps")} steps, ${one("spacing")} spacing`,
    `classifier ${DATA.classifier}`,
  ];
  byId("facts").replaceChildren(...words.map((text) => element("span", {}, text)));
  byId("credit").textContent = SAMPLES.credit;
}

function start() {
  applyTheme(storedTheme());
  Object.assign(view, readHash());
  drawHeader();
  drawCards();
  drawProtocol();
  for (const [, draw] of parts) draw();
  byId("theme").addEventListener("click", nextTheme);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("task").addEventListener("change", (event) => chooseTask(event.target.value));
  byId("metric").addEventListener("change", (event) => show({ metric: event.target.value, sort: "", dir: "" }));
  byId("filter").addEventListener("input", (event) => show({ filter: event.target.value }));
  byId("x").addEventListener("change", (event) => show({ x: event.target.value }));
  byId("y").addEventListener("change", (event) => show({ y: event.target.value }));
  for (const link of document.querySelectorAll("a[data-at]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      show({ at: link.dataset.at });
      goTo(link.dataset.at);
    });
  }
  addEventListener("hashchange", () => {
    show(readHash());
    goTo(view.at);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawTradeoff);
  document.addEventListener("DOMContentLoaded", () => {
    drawTradeoff(); // plotly comes after this script, so that the table need not wait for it
    if (view.at) goTo(view.at);
  });
}

part(["task", "metric", "filter"], drawControls);
start();
