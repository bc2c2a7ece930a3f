// One starting noise through every method of a task: the sample of each method, and its predicted class.
const SAMPLES = DATA.samples;
const stripUrls = SAMPLES.strips.map((strip) => {
  const bytes = Uint8Array.from(atob(strip), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
});
let playing = null;

const cellsOfTask = () => SAMPLES.cells.filter((cell) => cell.task === oneTask());
const methodName = (cell) => DATA.methods[cell.method].name;

function chosenNoise() {
  const chosen = Number(view.noise);
  return Number.isInteger(chosen) && chosen >= 1 && chosen <= SAMPLES.count ? chosen - 1 : 0;
}

function chosenCell(cells) {
  const chosen = cells.findIndex((cell) => methodName(cell) === view.method);
  return chosen >= 0 ? chosen : Math.min(1, cells.length - 1);
}

function prediction(cell, noise) {
  const label = cell.labels[noise];
  if (label === undefined) return { text: "class not stored", colour: null };
  if (label < 0) return { text: "not classified", colour: null };
  const name = DATA.tasks[cell.task].classes[label] ?? `class ${label}`;
  return { text: name, colour: SAMPLES.colours[label % SAMPLES.colours.length] };
}

function face(cell, noise, spoken = true) {
  const classified = prediction(cell, noise);
  const description = `noise ${noise + 1}, ${methodName(cell)}, classified ${classified.text}`;
  return element("span", {
    class: `face ${classified.colour ? "" : "unclassified"}`,
    ...(spoken ? { role: "img", "aria-label": description } : { "aria-hidden": "true" }),
    style: {
      "--frame": classified.colour ?? "transparent",
      "aspect-ratio": `${SAMPLES.width} / ${SAMPLES.height}`,
      "background-image": `url(${stripUrls[cell.strip]})`,
      "background-size": `${100 * SAMPLES.count}% 100%`,
      "background-position": `${SAMPLES.count > 1 ? (100 * noise) / (SAMPLES.count - 1) : 0}% 0`,
      "image-rendering": SAMPLES.width < 100 ? "pixelated" : "auto",
    },
  });
}

function tag(cell, noise) {
  const classified = prediction(cell, noise);
  const swatch = element("i", { class: "swatch", "aria-hidden": "true", style: { background: classified.colour ?? "transparent" } });
  return element("span", { class: "tag" }, swatch, classified.text);
}

function flip(step) {
  const cells = cellsOfTask();
  const next = (chosenCell(cells) + step + cells.length) % cells.length;
  show({ method: methodName(cells[next]) });
}

function turnNoise(step) {
  show({ noise: String(((chosenNoise() + step + SAMPLES.count) % SAMPLES.count) + 1) });
}

function play() {
  if (playing !== null) {
    clearInterval(playing);
    playing = null;
  } else playing = setInterval(() => flip(1), 900);
  byId("play").replaceChildren(playing === null ? "Play" : "Stop");
  byId("play").setAttribute("aria-pressed", String(playing !== null));
}

const KEYS = { ArrowLeft: () => flip(-1), ArrowRight: () => flip(1), ArrowUp: () => turnNoise(-1), ArrowDown: () => turnNoise(1) };

function onKey(event) {
  if (!KEYS[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  KEYS[event.key]();
}

function figure(cell, noise, title) {
  return element("figure", {}, face(cell, noise), element("figcaption", {}, element("strong", {}, ...breakable(title)), tag(cell, noise)));
}

function drawSamples() {
  const cells = cellsOfTask();
  const task = DATA.tasks[oneTask()];
  byId("samples-task").textContent = SAMPLES.cells.length ? task.name : "";
  if (!cells.length) {
    const why = SAMPLES.why || `No samples of ${task.name} are in the store.`;
    byId("browser").replaceChildren(element("p", { class: "note boxed" }, why));
    return;
  }
  const focused = byId("browser").contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const scrolled = byId("noises")?.scrollLeft ?? 0;
  const noise = chosenNoise();
  const at = chosenCell(cells);
  const noises = element(
    "div",
    { class: "noises", id: "noises", role: "group", "aria-label": `Starting noises, as samples of ${methodName(cells[0])}` },
    ...Array.from({ length: SAMPLES.count }, (_, i) =>
      element("button", { type: "button", "data-key": `noise ${i}`, "aria-pressed": String(i === noise), "aria-label": `noise ${i + 1}, classified ${prediction(cells[0], i).text} with ${methodName(cells[0])}`, click: () => show({ noise: String(i + 1) }) }, face(cells[0], i, false)),
    ),
  );
  const stage = element(
    "div",
    { class: "stage", tabindex: "0", role: "group", "data-key": "stage", "aria-label": "Samples of one starting noise: left and right change the method, up and down the noise", keydown: onKey },
    element("div", { class: "pair" }, figure(cells[0], noise, methodName(cells[0])), figure(cells[at], noise, methodName(cells[at]))),
    element(
      "div",
      { class: "flips" },
      element("button", { type: "button", id: "previous", "data-key": "previous", click: () => flip(-1) }, "‹ previous"),
      element("button", { type: "button", id: "play", "data-key": "play", "aria-pressed": String(playing !== null), click: play }, playing === null ? "Play" : "Stop"),
      element("button", { type: "button", id: "next", "data-key": "next", click: () => flip(1) }, "next ›"),
    ),
    element("p", { class: "muted" }, `starting noise ${noise + 1} of ${SAMPLES.count}, method ${at + 1} of ${cells.length}`),
  );
  const grid = element(
    "div",
    { class: "faces" },
    ...cells.map((cell, i) =>
      element("button", { type: "button", "data-key": `cell ${i}`, "aria-pressed": String(i === at), click: () => show({ method: methodName(cell) }) }, face(cell, noise), element("span", { class: "name" }, ...breakable(methodName(cell))), tag(cell, noise)),
    ),
  );
  const classified = prediction(cells[at], noise).text;
  if (playing === null) byId("flipped").textContent = `${methodName(cells[at])}, noise ${noise + 1}: classified ${classified}`;
  const legend = element("p", { class: "legend" }, "Predicted class: ", ...task.classes.map((name, i) => element("span", { class: "tag" }, element("i", { class: "swatch", "aria-hidden": "true", style: { background: SAMPLES.colours[i % SAMPLES.colours.length] } }), name)));
  const reduced = SAMPLES.reduced ? element("p", { class: "note" }, `Images of ${SAMPLES.reduced} pixels, shown at ${Math.max(SAMPLES.width, SAMPLES.height)} pixels.`) : null;
  byId("browser").replaceChildren(noises, element("div", { class: "flipper" }, stage, grid), legend, ...(reduced ? [reduced] : []));
  byId("noises").scrollLeft = scrolled;
  if (focused) [...byId("browser").querySelectorAll("[data-key]")].find((node) => node.dataset.key === focused)?.focus({ preventScroll: true });
}

drawOnChange(["task", "noise", "method"], drawSamples);
