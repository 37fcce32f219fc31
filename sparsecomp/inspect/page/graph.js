// The drawing: one slot a place, filled by the node of the chosen stage; what is gone stays as a dotted outline.

const slots = data.graph.slots.map((views, index) => {
  const first = views.find(Boolean);
  const rows = data.layers.flatMap((row, at) => (row.slots.includes(index) ? [at] : []));
  const weighted = views.some((view) => view && view.density !== null);
  const born = views.indexOf(first);
  return { views, first, born, row: rows.length ? data.layers[rows[0]] : null, weighted, height: weighted || first.kind === "input" ? TALL : LOW };
});

/** Who is drawn in a slot at a stage: `[node, here]`; the last one that was there if it is gone. */
function drawn(slot, stage) {
  for (let at = stage; at >= 0; at--) if (slot.views[at]) return [slot.views[at], at === stage];
  return [null, false];
}

// Edges over more than this are faint: a mask that every layer reads would hide the rest.
const FAR = 1200;

class Graph {
  constructor(container, layout) {
    this.layout = layout;
    this.stage = data.graph.stages.length - 1;
    this.longest = Math.max(...slots.map((slot) => (slot.row && timeOf(slot.row)) || 0), 1e-12);
    this.cy = cytoscape({
      container,
      elements: [...slots.map((slot, i) => this.node(slot, i)), ...data.graph.edges.map((edge, i) => this.edge(edge, i))],
      layout: { name: "preset" },
      style: [],
      minZoom: 0.02,
      maxZoom: 3,
      autoungrabify: true,
      boxSelectionEnabled: false,
      textureOnViewport: slots.length > 1500,
    });
    this.neighbours = { up: slots.map(() => []), down: slots.map(() => []) };
    for (const [from, to, bits] of data.graph.edges) {
      this.neighbours.down[from].push([to, bits]);
      this.neighbours.up[to].push([from, bits]);
    }
    this.colour = "density";
    this.ghosts = true;
  }

  node(slot, index) {
    const id = `n${index}`;
    return { group: "nodes", data: { id, h: slot.height }, position: { ...this.layout.at[index] } };
  }

  edge([from, to], index) {
    return { group: "edges", data: { id: `e${index}`, source: `n${from}`, target: `n${to}` } };
  }

  /** Show a stage in the present colours. */
  draw() {
    const { cy, stage } = this;
    cy.batch(() => {
      cy.style(this.style());
      slots.forEach((slot, index) => {
        const [view, here] = drawn(slot, stage);
        const node = cy.getElementById(`n${index}`);
        node.toggleClass("hidden", !view || (!here && !this.ghosts)).toggleClass("ghost", Boolean(view) && !here);
        node.toggleClass("end", Boolean(view) && view.kind !== "call");
        if (view) node.data({ label: this.label(slot, view), ...this.paint(slot, view, here) });
      });
      data.graph.edges.forEach((edge, index) => this.drawEdge(edge, index));
    });
  }

  drawEdge([from, to, bits], index) {
    const edge = this.cy.getElementById(`e${index}`);
    const here = Boolean((bits >> this.stage) & 1), before = Boolean(bits & ((1 << this.stage) - 1));
    edge.toggleClass("hidden", !here && !(before && this.ghosts)).toggleClass("ghost", !here);
    const bends = this.layout.bends.get(`${from}>${to}`) ?? (here ? this.around(from, to) : []);
    edge.toggleClass("bent", bends.length > 0).toggleClass("far", !this.layout.bends.has(`${from}>${to}`) && this.isFar(from, to));
    if (bends.length) edge.data({ w: bends.map((b) => b.weight), d: bends.map((b) => b.distance) });
  }

  isFar(from, to) {
    return Math.abs(this.layout.at[from].y - this.layout.at[to].y) > FAR;
  }

  /** A bow for an edge that the layout has not routed, if a node is in its way. */
  around(from, to) {
    const { at } = this.layout;
    const [a, b] = [at[from], at[to]];
    const blocked = (i) => {
      if (i === from || i === to || !slots[i].views[this.stage]) return false;
      const share = (at[i].y - a.y) / (b.y - a.y || 1);
      return share > 0 && share < 1 && Math.abs(a.x + share * (b.x - a.x) - at[i].x) < WIDE / 2 + 8;
    };
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    for (let i = low + 1; i < high; i++) {
      if (!blocked(i)) continue;
      const bow = -(WIDE / 2 + 34 + Math.min(140, 3 * (high - low)));
      return [0.12, 0.5, 0.88].map((weight) => ({ weight, distance: bow }));
    }
    return [];
  }

  label(slot, view) {
    const name = view.layer || (view.kind === "call" ? "" : view.id);
    if (view.kind === "output") return "output";
    if (view.kind === "input") return `${tail(view.id, 24)}\n${head(view.type, 24)}`;
    if (!slot.weighted) return head(operator(view.op), 26);
    const density = view.density === null ? "" : `  ·  ${percent(view.density)}`;
    return `${head(operator(view.op), 19)}${density}\n${tail(name, 27)}`;
  }

  paint(slot, view, here) {
    const share = this.share(slot, view);
    if (!here || share === null) return { fill: css("--card"), ink: css(here ? "--ink-2" : "--ink-3") };
    const channels = this.colour === "time" ? mix("--ramp-low", "--hot", share) : mix("--ramp-low", "--sparse", share);
    return { fill: rgb(channels), ink: readableOn(channels) };
  }

  /** How strong the colour of a node is, 0 to 1; null for the colour of the card. */
  share(slot, view) {
    if (this.colour === "density") return view.density === null ? null : 1 - view.density;
    const time = slot.row && timeOf(slot.row);
    return time ? Math.sqrt(time / this.longest) : null;
  }

  style() {
    const line = css("--line-2"), accent = css("--accent");
    return [
      { selector: "node", style: {
        shape: "round-rectangle", width: WIDE, height: "data(h)", label: "data(label)", "background-color": "data(fill)",
        color: "data(ink)", "border-width": 1, "border-color": line, "font-size": 12, "text-wrap": "wrap",
        "text-valign": "center", "text-halign": "center", "line-height": 1.3, "min-zoomed-font-size": 5,
        "font-family": "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif", "corner-radius": 9 } },
      { selector: "node.end", style: { shape: "round-rectangle", "corner-radius": 15, "font-weight": 600 } },
      { selector: "node.ghost", style: { "border-style": "dotted", "border-width": 1.5, "background-color": css("--page"), "background-opacity": 0.88,
        "text-opacity": 0.9, "border-color": css("--ink-3") } },
      { selector: "edge", style: { width: 1.5, "line-color": line, "curve-style": "straight", "target-arrow-color": line,
        "target-arrow-shape": "triangle", "arrow-scale": 0.8 } },
      { selector: "edge.bent", style: { "curve-style": "unbundled-bezier", "control-point-weights": "data(w)",
        "control-point-distances": "data(d)", "edge-distances": "node-position" } },
      { selector: "edge.ghost", style: { "line-style": "dotted", "target-arrow-shape": "none", opacity: 0.6 } },
      { selector: "edge.far", style: { width: 1, opacity: 0.3 } },
      { selector: ".dim", style: { opacity: 0.22 } },
      { selector: "node.hit", style: { "border-width": 3, "border-color": css("--find") } },
      { selector: "node.chosen", style: { "border-width": 4, "border-color": accent, "border-style": "solid" } },
      { selector: "edge.near", style: { "line-color": accent, "target-arrow-color": accent, width: 2.5, opacity: 1 } },
      { selector: ".hidden", style: { display: "none" } },
    ];
  }

  choose(index) {
    const { cy } = this;
    cy.batch(() => {
      cy.elements(".chosen, .near").removeClass("chosen near");
      if (index === null) return;
      const node = cy.getElementById(`n${index}`);
      node.addClass("chosen");
      node.connectedEdges().addClass("near");
    });
  }

  /** Highlight what a search has found; null ends it. */
  highlight(found) {
    this.cy.batch(() => {
      this.cy.elements().removeClass("dim hit");
      if (!found) return;
      const wanted = new Set(found);
      this.cy.nodes().forEach((node) => void node.addClass(wanted.has(Number(node.id().slice(1))) ? "hit" : "dim"));
      this.cy.edges().addClass("dim");
    });
  }

  /** Bring a slot into view, at a zoom at which it can be read. */
  show(index) {
    const { cy } = this, node = cy.getElementById(`n${index}`);
    const zoom = Math.max(cy.zoom(), 0.7), box = cy.extent(), { x, y } = node.position();
    const inside = x - WIDE / 2 > box.x1 && x + WIDE / 2 < box.x2 && y - TALL > box.y1 && y + TALL < box.y2;
    if (inside && cy.zoom() >= 0.7) return;
    this.move({ zoom, pan: { x: cy.width() / 2 - zoom * x, y: cy.height() / 2 - zoom * y } });
  }

  /** The beginning of the graph, as large as it can be read. */
  begin() {
    const { cy } = this, { left, right, top, bottom } = this.layout.box;
    if (!slots.length) return;
    const room = { w: cy.width() - 90, h: cy.height() - 40 };
    const zoom = Math.min(1, Math.max(room.w / (right - left), 0.55), Math.max(room.h / (bottom - top), 0.8));
    const x = (right - left) * zoom < room.w ? (left + right) / 2 : this.layout.at[0].x;
    cy.viewport({ zoom, pan: { x: cy.width() / 2 - zoom * x, y: 24 - zoom * top } });
  }

  fit() {
    this.cy.animate({ fit: { eles: this.cy.elements().not(".hidden"), padding: 24 }, duration: still() ? 0 : 250 });
  }

  zoom(factor) {
    const { cy } = this;
    cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
  }

  move(viewport) {
    if (still()) this.cy.viewport(viewport);
    else this.cy.animate({ ...viewport, duration: 220, easing: "ease-out" });
  }

  /** The slot that an arrow key leads to, or null. */
  step(from, key) {
    const visible = (i) => !this.cy.getElementById(`n${i}`).hasClass("hidden");
    if (from === null) return slots.findIndex((_, i) => visible(i));
    const { at } = this.layout;
    const side = key === "ArrowUp" ? "up" : key === "ArrowDown" ? "down" : null;
    if (side) {
      const all = this.neighbours[side][from].filter(([to]) => visible(to));
      const here = all.filter(([, bits]) => (bits >> this.stage) & 1);
      const near = (here.length ? here : all).map(([to]) => to);
      return near.sort((a, b) => Math.abs(at[a].y - at[from].y) - Math.abs(at[b].y - at[from].y))[0] ?? null;
    }
    const sign = key === "ArrowRight" ? 1 : -1;
    const beside = slots.map((_, i) => i).filter((i) =>
      visible(i) && sign * (at[i].x - at[from].x) > 10 && Math.abs(at[i].y - at[from].y) < 160);
    const distance = (i) => Math.abs(at[i].x - at[from].x) + 2 * Math.abs(at[i].y - at[from].y);
    return beside.sort((a, b) => distance(a) - distance(b))[0] ?? null;
  }
}

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
