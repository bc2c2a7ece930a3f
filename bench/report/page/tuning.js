// Tuned methods: the chosen setting beside the defaults, the gap to the evaluation, and every trial.
const TUNING = DATA.tuning;
const WORDS = new Set(["method", "task", "setting", "chosen setting", "note"]); // heads of columns of texts

function drawTuning() {
  for (const node of [byId("tuning"), byId("tuning-link")]) node.hidden = TUNING.trials.length === 0;
  const trials = TUNING.trials.filter((trial) => view.task === ALL || trial.task === view.task);
  const several = view.task === ALL;
  const numeric = (texts) => element("td", { class: "number" }, texts.length ? texts[0] : "–", texts.length > 1 ? element("span", { class: "muted" }, ` [${texts[1]}, ${texts[2]}]`) : null);
  const head = (names) => element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col", class: WORDS.has(name) ? null : "number" }, name))));
  const named = (trial) => [element("th", { scope: "row" }, ...breakable(trial.method)), several ? element("td", { class: "task" }, trial.task) : null];
  const heads = ["method", ...(several ? ["task"] : [])];
  const first = (trial) => trials.find((t) => t.task === trial.task && t.method === trial.method);
  const count = (trial) => trials.filter((t) => t.task === trial.task && t.method === trial.method).length;
  const chosen = trials.filter((trial) => trial.chosen).map((trial) =>
    element("tr", {}, ...named(trial), element("td", {}, trial.setting, trial.note ? element("span", { class: "badge warn" }, trial.note) : null), element("td", { class: "number" }, String(count(trial))), numeric(first(trial).value), numeric(trial.value), element("td", { class: "number" }, trial.ratio), numeric(trial.evaluation), numeric(trial.gap)),
  );
  byId("tuning-about").textContent = TUNING.rule;
  byId("tuning-table").replaceChildren(element("caption", { class: "visually-hidden" }, "Chosen settings"), head([...heads, "chosen setting", "settings tried", "default, tuning seed", "chosen, tuning seed", "Fréchet / vanilla's", "chosen, evaluation", "gap"]), element("tbody", {}, ...chosen));
  const body = trials.map((trial) =>
    element("tr", {}, ...named(trial), element("td", { class: "number" }, String(trial.trial)), element("td", {}, trial.setting, trial.chosen ? element("span", { class: "badge best" }, "chosen") : null), numeric(trial.value), numeric(trial.frechet), element("td", { class: "number" }, trial.ratio), numeric(trial.evaluation), numeric(trial.gap), element("td", { class: "number" }, trial.calls), element("td", {}, trial.note)),
  );
  byId("tuning-trials").replaceChildren(element("caption", { class: "visually-hidden" }, "All trials"), head([...heads, "trial", "setting", "tuning seed", "Fréchet distance", "/ vanilla's", "evaluation", "gap", "denoiser calls", "note"]), element("tbody", {}, ...body));
}

drawOnChange(["task"], drawTuning);
