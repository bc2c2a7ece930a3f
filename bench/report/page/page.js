// Controls, theme and sections; then the first view, from the URL.
const THEMES = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };

function storedTheme() {
  try {
    return localStorage.getItem("fairdiff-bench theme") ?? "auto";
  } catch {
    return "auto"; // a browser may store nothing for local files
  }
}

function applyTheme(name) {
  const theme = THEMES[name] ? name : "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").replaceChildren(THEMES[theme]);
  byId("theme").setAttribute("aria-label", `Colours: ${theme}; press to switch between auto, light and dark`);
  byId("theme").dataset.name = theme;
  try {
    localStorage.setItem("fairdiff-bench theme", theme);
  } catch {
    // as above
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

// A metric that the task does not have is replaced by the ranking metric.
function chooseTask(name) {
  const key = name === ALL ? ALL : taskNumber.get(name);
  const available = inTask.get(key)?.has(chosenColumn());
  show({ task: name, metric: available ? view.metric : START.metric, row: "" });
}

function goTo(name) {
  const section = byId(name);
  if (!section || section.tagName !== "SECTION") return;
  section.focus({ preventScroll: true });
  section.scrollIntoView();
}

function drawHeader() {
  const facts = new Map(DATA.facts);
  const fact = (name) => facts.get(name)?.join(", ") ?? "";
  byId("title").textContent = DATA.suite;
  const words = [
    `${DATA.methods.length} methods, ${DATA.tasks.length} ${DATA.tasks.length === 1 ? "task" : "tasks"}`,
    `${fact("n_asked")} samples per cell`,
    `${DATA.seeds.length === 1 ? "seed" : "seeds"} ${DATA.seeds.join(", ")}`,
    `model ${fact("model")}`,
    `${fact("sampler")}, ${fact("steps")} steps, ${fact("spacing")} spacing`,
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
  for (const [, draw] of sections) draw();
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
    drawTradeoff(); // plotly is loaded after this script, so that the table appears first
    if (view.at) goTo(view.at);
  });
}

drawOnChange(["task", "metric", "filter"], drawControls);
start();
