// Pictures of one weight.

/** Nonzeros of a weight as a matrix; digits 0 to 9 say how full each cell is. */
function spyPlot(spy, label) {
  const height = spy.length, width = height ? spy[0].length : 0;
  if (!width) return el("p", { class: "quiet-text", text: "The weight is empty." });
  const canvas = el("canvas", { width, height, class: "spy", role: "img", "aria-label": label });
  const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  const ramp = Array.from({ length: 10 }, (_, level) => mix("--spy-low", "--spy-high", level ? 0.15 + (0.85 * level) / 9 : 0));
  spy.forEach((row, y) => [...row].forEach((digit, x) => image.data.set([...ramp[Number(digit)], 255], 4 * (y * width + x))));
  pen.putImageData(image, 0, 0);
  const side = Math.max(width, height);
  canvas.style.width = `${Math.max(24, (190 * width) / side)}px`;
  canvas.style.height = `${Math.max(24, (190 * height) / side)}px`;
  return canvas;
}

/** How many rows of a weight have which density. */
function histogram(counts) {
  const most = Math.max(...counts, 1), total = counts.reduce((a, b) => a + b, 0), step = 256 / counts.length;
  const label = `Density of ${total} rows; most have ${bin(counts, counts.indexOf(Math.max(...counts)))}`;
  const chart = el("svg", { viewBox: "0 0 256 104", class: "histogram", role: "img", "aria-label": label });
  counts.forEach((count, i) => {
    const h = count ? Math.max(2, (78 * count) / most) : 0;
    const bar = el("rect", { x: i * step + 1, y: 82 - h, width: step - 2, height: h, rx: 1.5 });
    bar.append(el("title", { text: `${count} rows with ${bin(counts, i)}` }));
    chart.append(bar);
  });
  chart.append(el("line", { x1: 0, x2: 256, y1: 82.5, y2: 82.5 }));
  for (const [x, text, anchor] of [[0, "0 %", "start"], [128, "50 %", "middle"], [256, "100 %", "end"]])
    chart.append(el("text", { x, y: 98, "text-anchor": anchor, text }));
  return chart;
}

const bin = (counts, i) => `${Math.round((100 * i) / counts.length)} to ${Math.round((100 * (i + 1)) / counts.length)} % nonzeros`;
