// One layout for the graphs of all stages. Networks are chains of small parts (blocks between residual additions), so
// dagre gets one part at a time; that keeps thousands of nodes fast and the chain straight.

const WIDE = 196, TALL = 48, LOW = 30, LONGEST_SPAN = 10, SMALLEST_PART = 12;

/** Positions of slots, their bounding box, and bends of the edges that the layout has routed by `"from>to"`. */
function layOut(slots, edges) {
  const kept = withoutLong(slots.length, edges.filter(([from, to, , shaping]) => shaping && from < to));
  const order = sourcesLate(slots.length, kept);
  const place = [];
  order.forEach((slot, at) => (place[slot] = at));
  const at = slots.map(() => ({ x: 0, y: 0 }));
  const bends = new Map();
  let start = 0;
  for (const end of cuts(order, place, kept)) {
    layOutPart(order.slice(start, end + 1), slots, kept, at, bends, start > 0);
    start = end;
  }
  return { at, bends, box: boxOf(at) };
}

function boxOf(at) {
  const box = { left: 0, right: 0, top: 0, bottom: 0 };
  for (const { x, y } of at) {
    box.left = Math.min(box.left, x - WIDE / 2);
    box.right = Math.max(box.right, x + WIDE / 2);
    box.top = Math.min(box.top, y - TALL / 2);
    box.bottom = Math.max(box.bottom, y + TALL / 2);
  }
  return box;
}

/** Without edges over many ranks, as long as both ends have others: they would push everything apart. */
function withoutLong(count, edges) {
  const rank = new Array(count).fill(0), ins = new Array(count).fill(0), outs = new Array(count).fill(0);
  for (const [from, to] of [...edges].sort((a, b) => a[1] - b[1])) {
    rank[to] = Math.max(rank[to], rank[from] + 1);
    ins[to]++;
    outs[from]++;
  }
  const span = ([from, to]) => rank[to] - rank[from];
  return [...edges].sort((a, b) => span(b) - span(a)).filter((edge) => {
    const [from, to] = edge;
    if (span(edge) <= LONGEST_SPAN || ins[to] < 2 || outs[from] < 2) return true;
    ins[to]--;
    outs[from]--;
    return false;
  });
}

/** The slots in order, with each that reads nothing just before its first reader. */
function sourcesLate(count, edges) {
  const inputs = Array.from({ length: count }, () => []), read = new Set();
  for (const [from, to] of edges) {
    inputs[to].push(from);
    read.add(from);
  }
  const order = [], done = new Set();
  const put = (slot) => done.has(slot) || (done.add(slot), order.push(slot));
  for (let slot = 0; slot < count; slot++) {
    if (!inputs[slot].length && read.has(slot)) continue;
    inputs[slot].sort((a, b) => a - b).filter((source) => !inputs[source].length).forEach(put);
    put(slot);
  }
  return order;
}

/** Where the parts end: places that no edge passes by, at least some nodes apart. */
function cuts(order, place, edges) {
  const reach = new Array(order.length).fill(0);
  for (const [from, to] of edges) reach[place[from]] = Math.max(reach[place[from]], place[to]);
  const ends = [];
  let furthest = 0, last = 0;
  for (let i = 0; i < order.length - 1; i++) {
    if (furthest <= i && i - last >= SMALLEST_PART) ends.push((last = i));
    furthest = Math.max(furthest, reach[i]);
  }
  return order.length ? [...ends, order.length - 1] : [];
}

function layOutPart(part, slots, edges, at, bends, joined) {
  const { points, routes } = shapeOf(part, slots, edges);
  const dx = joined ? at[part[0]].x - points[0].x : -points[0].x;
  const dy = joined ? at[part[0]].y - points[0].y : -points[0].y;
  const moved = ({ x, y }) => ({ x: x + dx, y: y + dy });
  part.forEach((slot, i) => (at[slot] = moved(points[i])));
  for (const [from, to, inner] of routes) {
    const [a, b] = [part[from], part[to]];
    bends.set(`${a}>${b}`, relative(at[a], at[b], inner.map(moved)));
  }
}

const shapes = new Map();

/** Where dagre puts the nodes of a part, by their place in it. Networks repeat themselves: equal parts are shaped once. */
function shapeOf(part, slots, edges) {
  const place = new Map(part.map((slot, i) => [slot, i]));
  const inner = edges.filter(([a, b]) => place.has(a) && place.has(b)).map(([a, b]) => [place.get(a), place.get(b)]);
  const heights = part.map((slot) => slots[slot].height);
  const key = JSON.stringify([heights, inner]);
  if (!shapes.has(key)) shapes.set(key, byDagre(heights, inner));
  return shapes.get(key);
}

function byDagre(heights, edges) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ nodesep: 26, ranksep: 34, ranker: heights.length > 300 ? "longest-path" : "network-simplex" });
  graph.setDefaultEdgeLabel(() => ({}));
  heights.forEach((height, i) => graph.setNode(String(i), { width: WIDE, height }));
  for (const [from, to] of edges) graph.setEdge(String(from), String(to));
  // What nobody reads stays above the next part.
  const last = heights.length - 1, read = new Set(edges.map(([from]) => from));
  heights.forEach((_, i) => i !== last && !read.has(i) && graph.setEdge(String(i), String(last)));
  dagre.layout(graph);
  return {
    points: heights.map((_, i) => graph.node(String(i))),
    routes: edges.map(([from, to]) => [from, to, graph.edge(String(from), String(to)).points.slice(1, -1)]),
  };
}

/** Points beside the line from `a` to `b` as Cytoscape takes them: how far along it, how far beside it. */
function relative(a, b, points) {
  const [x, y] = [b.x - a.x, b.y - a.y];
  const square = x * x + y * y || 1, length = Math.sqrt(square);
  const found = points.map((p) => ({
    weight: ((p.x - a.x) * x + (p.y - a.y) * y) / square,
    distance: ((p.y - a.y) * x - (p.x - a.x) * y) / length,
  }));
  return found.filter(({ distance }) => Math.abs(distance) > 3);
}
