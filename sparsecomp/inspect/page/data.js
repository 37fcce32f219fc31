// What the page shows, and small things that every part uses. Text of the user goes into text nodes, never into HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

/** An element with properties (`class`, `text`, `on…`, or attributes) and children. */
function el(tag, properties = {}, ...children) {
  const svg = ["svg", "rect", "text", "line", "g", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Previews of weights and the text of kernels; unpacked when first asked for. */
let unpacked = null;
function more() {
  unpacked ??= (async () => {
    const bytes = Uint8Array.from(atob($("more").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  })();
  return unpacked;
}

const digits = (value, count = 3) =>
  value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(count)));

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1) return `${digits(value)} s`;
  return value >= 1e-3 ? `${digits(value * 1e3)} ms` : `${digits(value * 1e6)} µs`;
}

function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB"];
  const power = value < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(value) / 3));
  return `${digits(value / 1000 ** power)} ${units[power]}`;
}

const percent = (value) => (value === null || value === undefined ? "–" : `${digits(100 * value, 2)} %`);
const times = (value) => (Number.isFinite(value) ? `${value < 10 ? value.toFixed(2) : digits(value)}×` : "–");
const shape = (sizes) => (sizes ? sizes.join("×") : "–");

/** The end of a long name, which tells layers apart; the start of other text. */
const tail = (text, most) => (text.length > most ? `…${text.slice(1 - most).replace(/^[._]+/, "")}` : text);
const head = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** `aten.conv2d.default` as people say it; `aten._native_batch_norm_legit_no_training` is `batch_norm`. */
const operator = (op) => op.replace(/^(aten|sparsecomp)\./, "").replace(/^_?native_(\w+?_norm)\w*/, "$1").replace(/\.(default|int|input|Tensor|Scalar|self)$/, "");

const timeOf = (row) => row.measured ?? row.predicted;
const isDark = () => document.documentElement.dataset.theme === "dark";
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A colour between two of the theme, as `rgb()`; `share` from 0 to 1. */
function mix(from, to, share) {
  const parse = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  const [a, b] = [parse(css(from)), parse(css(to))];
  return a.map((value, i) => Math.round(value + (b[i] - value) * Math.min(1, Math.max(0, share))));
}
const rgb = (channels) => `rgb(${channels.join(",")})`;
const readableOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#131a26" : "#ffffff");
