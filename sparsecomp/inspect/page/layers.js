// The list of layers: a bar chart of time, dense and compiled, that is also the way to a layer.

class Layers {
  constructor(list, open) {
    this.list = list;
    this.order = "model";
    this.found = null;
    const longest = Math.max(...data.layers.flatMap((row) => [row.dense_predicted ?? 0, timeOf(row) ?? 0]), 1e-12);
    this.items = data.layers.map((row, at) => {
      const item = el("li", {}, this.button(row, longest, () => open(at)));
      return item;
    });
    list.addEventListener("keydown", (event) => this.key(event));
    this.arrange();
  }

  button(row, longest, onclick) {
    const time = timeOf(row), dense = row.dense_predicted;
    const gain = time && dense ? dense / time : null;
    const words = [row.layer || row.weight, row.op, `density ${percent(row.density)}`, `${seconds(time)}`];
    if (gain) words.push(`${times(gain)} as fast as dense, which is ${seconds(dense)}`);
    const bar = (kind, value) => {
      const fill = el("i", { class: kind });
      fill.style.width = `${(100 * (value ?? 0)) / longest}%`;
      return fill;
    };
    return el("button", { type: "button", tabindex: "-1", onclick, "aria-label": words.join(", "), title: head(row.layer, 400) },
      el("span", { class: "name", text: tail(row.layer || row.weight, 31) }),
      el("span", { class: "figure", text: time ? seconds(time) : row.nodes.length ? "–" : "removed" }),
      el("span", { class: "bars" }, bar("before", dense), bar("after", time)),
      el("span", { class: gain > 1.04 ? "gain" : "gain none", text: gain ? times(gain) : "" }));
  }

  /** Sort and filter; `found` is a set of row numbers or null. */
  arrange() {
    const value = {
      model: () => 0,
      time: (row) => -(timeOf(row) ?? 0),
      gain: (row) => (timeOf(row) ?? 0) - (row.dense_predicted ?? 0),
      density: (row) => row.density,
      size: (row) => -row.bytes_before,
    }[this.order];
    const rows = data.layers.map((row, at) => [value(row), at]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const shown = rows.map(([, at]) => at).filter((at) => !this.found || this.found.has(at));
    this.list.replaceChildren(...shown.map((at) => this.items[at]));
    this.reachable();
  }

  /** Tab reaches one row of the list: the chosen one, else the first. */
  reachable() {
    const buttons = [...this.list.querySelectorAll("button")];
    buttons.forEach((button) => (button.tabIndex = -1));
    const first = buttons.find((button) => button.getAttribute("aria-current")) ?? buttons[0];
    if (first) first.tabIndex = 0;
  }

  choose(at) {
    this.items.forEach((item, i) => {
      const button = item.firstChild;
      if (i === at) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    this.reachable();
    if (at !== null && this.items[at]) this.items[at].scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const buttons = [...this.list.querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || !buttons[to]) return;
    event.preventDefault();
    buttons[to].focus();
  }
}
