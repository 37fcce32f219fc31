// Puts the parts together: summary, theme, stages, search, keys.

const graph = new Graph($("graph"), layOut(slots, data.graph.edges));
const overview = new Overview($("map"), graph);
const layers = new Layers($("rows"), (at) => open(data.layers[at].slots.at(-1) ?? null, data.layers[at]));
const panel = new Panel($("panel"), (index) => open(index), close);
const state = { chosen: null, back: null, found: [], at: -1 };
const say = (text) => ($("said").textContent = text);

function describe(index) {
  const [view, here] = drawn(slots[index], graph.stage);
  if (!view) return "";
  const density = view.density === null ? "" : `, density ${percent(view.density)}`;
  return `${operator(view.op || view.kind)} ${tail(view.layer || view.id, 200)}, ${view.type}${density}${here ? "" : ", removed"}`;
}

/** Mark a slot in the graph and the list. */
function choose(index, row = index === null ? null : slots[index].row) {
  state.chosen = index;
  graph.choose(index);
  layers.choose(row ? data.layers.indexOf(row) : null);
  if (index !== null) {
    graph.show(index);
    say(describe(index));
  }
  overview.later();
}

/** Choose, and show the details. */
function open(index, row = index === null ? null : slots[index].row) {
  if (panel.root.hidden) state.back = document.activeElement;
  panel.show(index, row);
  graph.cy.resize();
  choose(index, row);
}

function close() {
  const inside = panel.root.contains(document.activeElement);
  panel.hide();
  graph.cy.resize();
  if (inside) (state.back?.isConnected ? state.back : $("graph")).focus();
}

function setStage(at) {
  const stages = data.graph.stages;
  if (!stages.length) return;
  graph.stage = Math.min(stages.length - 1, Math.max(0, at));
  const here = slots.filter((slot) => slot.views[graph.stage]?.kind === "call").length;
  const gone = slots.filter((slot) => !slot.views[graph.stage] && slot.views.slice(0, graph.stage).some(Boolean)).length;
  $("stage").value = graph.stage;
  $("stage").setAttribute("aria-valuetext", `${stages[graph.stage]}, ${here} calls`);
  $("stage-text").textContent = `${ABOUT[stages[graph.stage]] ?? stages[graph.stage]}  ${here} calls${gone ? `, ${gone} gone` : ""}.`;
  [...$("ticks").children].forEach((tick, i) => tick.classList.toggle("now", i === graph.stage));
  redraw();
}

const ABOUT = {
  captured: "As the model was written.",
  propagated: "Before removal; every call says what is known of its slices.",
  removed: "After dead slices were cut out.",
  fused: "Bias, residual and activation are part of the kernel before.",
  lowered: "One call is one kernel of machine code.",
};

function redraw() {
  graph.draw();
  graph.choose(state.chosen);
  if (state.found.length) graph.highlight(state.found);
  legend();
  overview.later();
}

function legend() {
  const kind = graph.colour === "time" ? ["short", "long", "--hot"] : ["dense", "sparse", "--sparse"];
  const bar = el("i");
  bar.style.background = `linear-gradient(90deg, ${css("--ramp-low")}, ${css(kind[2])})`;
  $("key").replaceChildren(el("span", { text: kind[0] }), bar, el("span", { text: kind[1] }));
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  redraw();
}

// Search: rows of the list and slots of the graph whose name, operator or kernel has all words.
const texts = (parts) => parts.filter(Boolean).join(" ").toLowerCase();
const ofRow = data.layers.map((row) => texts([row.layer, row.weight, row.op, row.kernel, row.format, row.pattern]));
const ofSlot = slots.map((slot) => texts(slot.views.flatMap((view) => (view ? [view.op, view.layer, view.id, view.kind] : []))));

function search(text) {
  const parts = text.toLowerCase().split(/\s+/).filter(Boolean);
  const match = (where) => parts.every((part) => where.includes(part));
  state.at = -1;
  state.found = parts.length ? slots.flatMap((_, i) => (match(ofSlot[i]) || (slots[i].row && match(ofRow[data.layers.indexOf(slots[i].row)])) ? [i] : [])) : [];
  layers.found = parts.length ? new Set(data.layers.flatMap((_, i) => (match(ofRow[i]) ? [i] : []))) : null;
  layers.arrange();
  graph.highlight(parts.length ? state.found : null);
  $("found").textContent = parts.length ? `${layers.found.size} layers, ${state.found.length} calls. Enter leads to the next.` : "";
  overview.later();
}

function next(by) {
  const seen = state.found.filter((i) => !graph.cy.getElementById(`n${i}`).hasClass("hidden"));
  if (!seen.length) return;
  state.at = (state.at + by + seen.length) % seen.length;
  open(seen[state.at]);
  $("found").textContent = `${state.at + 1} of ${seen.length} calls.`;
}

const KEYS = [["/", "search"], ["Enter, Shift Enter", "in the search: next and previous find"], ["Tab", "to the list, the graph, the details"],
  ["↑ ↓ ← →", "along the list, or along the graph"], ["Enter", "details of what is marked"], ["Esc", "close details, end the search"],
  ["[ ]", "stage before, stage after"], ["+ − 0", "zoom in, out, all"], ["t", "light or dark"], ["?", "this"]];

const COMMANDS = {
  "/": () => $("search").focus(),
  "[": () => setStage(graph.stage - 1),
  "]": () => setStage(graph.stage + 1),
  "+": () => graph.zoom(1.25),
  "=": () => graph.zoom(1.25),
  "-": () => graph.zoom(0.8),
  0: () => graph.fit(),
  t: () => setTheme(isDark() ? "light" : "dark"),
  "?": () => $("keys").showModal(),
  Escape: escape,
};

function escape() {
  if (!panel.root.hidden) close();
  else if ($("search").value) clearSearch();
  else choose(null);
}

function clearSearch() {
  $("search").value = "";
  search("");
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) && event.target.type !== "range") return;
  const command = COMMANDS[event.key];
  if (!command) return;
  event.preventDefault();
  command();
}

function onSearchKey(event) {
  if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
  else if (event.key !== "Escape") return;
  else if (event.target.value) clearSearch();
  else event.target.blur();
  event.preventDefault();
}

function onGraphKey(event) {
  if (event.key === "Enter" && state.chosen !== null) {
    open(state.chosen);
    panel.root.focus();
  } else if (event.key.startsWith("Arrow")) {
    const to = graph.step(state.chosen, event.key);
    if (to !== null && to >= 0) panel.root.hidden ? choose(to) : open(to);
  } else return;
  event.preventDefault();
}

function fillSummary() {
  const { title, about, cards } = data.summary;
  $("model").textContent = head(title, 200);
  $("about").textContent = head(about, 400);
  $("summary").replaceChildren(...cards.map(({ name, value, note, strong }) =>
    el("div", strong ? { class: "strong" } : {}, el("dt", { text: name }), el("dd", { text: value }), el("dd", { class: "note", text: note }))));
}

function start() {
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  fillSummary();
  const stages = data.graph.stages;
  $("stage").max = Math.max(0, stages.length - 1);
  $("ticks").replaceChildren(...stages.map((name, i) => el("button", { type: "button", tabindex: "-1", text: name, onclick: () => setStage(i) })));
  $("keys").replaceChildren(el("h2", { text: "Keys" }), el("dl", {}, ...KEYS.flatMap(([key, what]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })])),
    el("form", { method: "dialog" }, el("button", { text: "Close" })));
  if (!slots.length) Object.assign($("message"), { hidden: false, textContent: "This report has no graph: it is of a program that an older version saved." });
  setStage(stages.length - 1);
  graph.begin();
  listen();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

function listen() {
  const { cy } = graph;
  cy.on("tap", "node", (event) => open(Number(event.target.id().slice(1))));
  cy.on("mouseover", "node", () => ($("graph").style.cursor = "pointer"));
  cy.on("mouseout", "node", () => ($("graph").style.cursor = ""));
  $("stage").addEventListener("input", (event) => setStage(Number(event.target.value)));
  $("search").addEventListener("input", (event) => search(event.target.value));
  $("search").addEventListener("keydown", onSearchKey);
  $("graph").addEventListener("keydown", onGraphKey);
  document.addEventListener("keydown", onKey);
  $("sort").addEventListener("change", (event) => {
    layers.order = event.target.value;
    layers.arrange();
  });
  $("colour").addEventListener("change", (event) => {
    graph.colour = event.target.value;
    redraw();
  });
  $("ghosts").addEventListener("change", (event) => {
    graph.ghosts = event.target.checked;
    redraw();
  });
  $("theme").addEventListener("click", COMMANDS.t);
  $("help").addEventListener("click", COMMANDS["?"]);
  $("in").addEventListener("click", COMMANDS["+"]);
  $("out").addEventListener("click", COMMANDS["-"]);
  $("fit").addEventListener("click", COMMANDS[0]);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
}

start();
