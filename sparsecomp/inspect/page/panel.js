// Everything about one call: what was found in its weight, what was decided and why, how it runs, what became of it.

class Panel {
  constructor(root, go, close) {
    Object.assign(this, { root, go, close });
  }

  hide() {
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  /** Show a slot, or a layer that has none (`row` alone). */
  show(index, row) {
    const slot = index === null ? null : slots[index];
    const view = slot && [...slot.views].reverse().find(Boolean);
    const name = row?.layer || view?.layer || view?.id || "";
    const parts = [this.title(name, row, view)];
    if (row) parts.push(this.story(row), this.figures(row), this.weight(row), this.decisions(row), this.schedule(row));
    if (slot) parts.push(this.code(slot, row), this.stages(slot), this.neighbours(index));
    this.root.hidden = false;
    this.root.replaceChildren(...parts.filter(Boolean));
    this.root.scrollTop = 0;
  }

  title(name, row, view) {
    const chips = [row?.op ?? operator(view.op), row?.format, row?.kernel && `${row.kernel} kernel`, row && !row.nodes.length && "removed"];
    return el("header", {},
      el("h2", { text: tail(name, 400) }),
      el("button", { type: "button", class: "close", "aria-label": "Close details", title: "Close (Esc)", text: "×", onclick: this.close }),
      el("p", { class: "chips" }, ...chips.filter(Boolean).map((text) => el("span", { text: head(String(text), 60) }))));
  }

  story(row) {
    const time = timeOf(row), gain = time && row.dense_predicted ? row.dense_predicted / time : null;
    const kind = row.measured ? "measured" : "predicted";
    const first = gain ? `${times(gain)} as fast as dense (${kind}). ` : "";
    return el("p", { class: "story" }, el("strong", { text: first }), head(row.reason, 600));
  }

  figures(row) {
    const removed = [row.outputs_removed && `${row.outputs_removed} outputs`, row.inputs_removed && `${row.inputs_removed} inputs`];
    const list = [
      ["Weight", shape(row.shape) + (row.shape_after && shape(row.shape_after) !== shape(row.shape) ? ` → ${shape(row.shape_after)}` : "")],
      ["Pattern", row.pattern],
      ["Density", percent(row.density)],
      ["Removed", removed.filter(Boolean).join(", ") || "nothing"],
      ["Time", `${seconds(row.dense_predicted)} → ${seconds(timeOf(row))}`],
      ["Share of total", percent(row.share)],
      ["Speed", row.gflops ? `${digits(row.gflops)} GFLOP/s on nonzeros` : "–"],
      ["Of the roofline", percent(row.roofline)],
      ["Size", `${bytes(row.bytes_before)} → ${bytes(row.bytes_after)}`],
      ["Multiply-adds", `${short(row.macs_dense)} → ${short(row.macs)}`],
    ];
    return facts(list);
  }

  weight(row) {
    const place = el("div", { class: "weight" }, el("p", { class: "quiet-text", text: "Unpacking…" }));
    more().then(({ previews }) => {
      const { spy, histogram: counts } = previews[data.layers.indexOf(row)];
      const label = `Nonzeros of the ${shape(row.shape)} weight of ${head(row.layer, 200)}; density ${percent(row.density)}`;
      place.replaceChildren(
        el("figure", {}, spyPlot(spy, label), el("figcaption", { text: "darker is fuller; outputs downwards" })),
        el("figure", {}, histogram(counts), el("figcaption", { text: "rows by their density" })));
    }).catch(() => place.replaceChildren(el("p", { text: "This browser cannot unpack the pictures (DecompressionStream)." })));
    return section("Weight", place);
  }

  decisions(row) {
    const parts = row.decisions.flatMap((at) => {
      const decision = data.decisions[at];
      if (!decision.candidates.length) return [];
      const kinds = new Set(decision.candidates.map((c) => (c.measured === null ? "predicted" : "measured")));
      const value = (c) => c.measured ?? c.predicted, most = Math.max(...decision.candidates.map(value));
      const rows = decision.candidates.map((candidate, i) => {
        const fill = el("i", { class: i ? "before" : "after" });
        fill.style.width = `${(100 * value(candidate)) / most}%`;
        const why = i === 0 ? "chosen" : times(value(candidate) / value(decision.candidates[0]));
        return el("tr", i === 0 ? { class: "chosen" } : {},
          el("td", { class: "schedule", text: terms(candidate.schedule) }),
          el("td", {}, el("span", { class: "bars" }, fill), seconds(value(candidate)) + (kinds.size > 1 && candidate.measured === null ? " predicted" : "")),
          el("td", { text: why }));
      });
      return [el("table", { class: "candidates" }, el("thead", {}, el("tr", {}, ...["how", kinds.size > 1 ? "time" : `${[...kinds][0]} time`, "of chosen"].map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...rows))];
    });
    return parts.length ? section("Candidates", ...parts) : null;
  }

  schedule(row) {
    if (!row.schedule) return null;
    return section("Schedule", facts(Object.entries(row.schedule).map(([name, value]) => [name, words(value)])));
  }

  code(slot, row) {
    const lowered = slot.views[data.graph.stages.indexOf("lowered")];
    const name = row?.function || lowered?.op;
    if (!name || !data.functions.includes(name)) return null;
    const pre = el("pre", { tabindex: "0" }), box = el("details", { class: "code" }, el("summary", { text: `TIR of ${head(name, 80)}` }), pre);
    box.addEventListener("toggle", async () => {
      if (!box.open || pre.textContent) return;
      const { texts, code } = await more();
      pre.textContent = texts[code[name]];
    });
    return box;
  }

  stages(slot) {
    let before = null;
    const items = data.graph.stages.map((stage, at) => {
      const view = slot.views[at];
      const text = view ? `${operator(view.op || view.kind)}  ${view.type}` : before ? "gone" : "not yet";
      const same = text === before;
      before = text;
      return el("li", { class: view ? "" : "gone" }, el("b", { text: stage }), same ? "unchanged" : head(text, 300),
        view?.facts ? el("small", { text: head(view.facts, 2000) }) : null);
    });
    return section("At each stage", el("ol", { class: "story-of" }, ...items));
  }

  neighbours(index) {
    const link = ([from, to], other) => el("li", {}, el("button", { type: "button", class: "link", text: this.name(other), onclick: () => this.go(other) }));
    const at = (1 << data.graph.stages.length) - 1;
    const near = data.graph.edges.filter(([, , bits]) => bits & at);
    const ins = near.filter((e) => e[1] === index).map((e) => link(e, e[0])), outs = near.filter((e) => e[0] === index).map((e) => link(e, e[1]));
    return section("Reads and is read by", el("div", { class: "near" },
      el("ul", { "aria-label": "Reads" }, ...ins), el("ul", { "aria-label": "Is read by" }, ...outs)));
  }

  name(index) {
    const view = [...slots[index].views].reverse().find(Boolean);
    return view.kind === "call" ? `${head(operator(view.op), 30)}  ${tail(view.layer, 30)}` : head(view.id, 60);
  }
}

const section = (title, ...children) => el("section", {}, el("h3", { text: title }), ...children);
const facts = (list) => el("dl", { class: "facts" }, ...list.map(([name, value]) =>
  el("div", {}, el("dt", { text: head(String(name), 60) }), el("dd", { text: head(String(value), 300) }))));
const words = (value) => (value === true ? "yes" : value === false ? "no" : String(value));
const terms = ({ sparse, ...others }) => [sparse ? "sparse" : "dense",
  ...Object.entries(others).filter(([, value]) => value !== false).map(([name, value]) => (value === true ? name : `${name} ${value}`))].join(", ");

function short(value) {
  if (!value) return String(value ?? "–");
  const power = Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${digits(value / 1000 ** power)}${["", " k", " M", " G", " T"][power]}`;
}
