// The whole graph as a strip beside it: where one is, and a click leads elsewhere.

class Overview {
  constructor(canvas, graph) {
    Object.assign(this, { canvas, graph, waiting: false });
    const jump = (event) => event.buttons & 1 && this.jump(event);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      jump(event);
    });
    canvas.addEventListener("pointermove", jump);
    graph.cy.on("viewport resize", () => this.later());
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  scale() {
    const { left, right, top, bottom } = this.graph.layout.box;
    const height = this.graph.cy.height() - 24;
    const sx = Math.min(96 / (right - left), 0.25), sy = Math.min(height / (bottom - top), 0.25);
    return { left, top, sx, sy, width: (right - left) * sx, height: (bottom - top) * sy };
  }

  draw() {
    const { canvas, graph } = this, { left, top, sx, sy, width, height } = this.scale();
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.max(1, width * ratio);
    canvas.height = Math.max(1, height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    graph.cy.nodes().forEach((node) => {
      if (node.hasClass("hidden")) return;
      const { x, y } = node.position(), ghost = node.hasClass("ghost");
      pen.fillStyle = node.hasClass("chosen") ? css("--accent") : ghost ? css("--line") : node.data("fill");
      if (node.hasClass("hit")) pen.fillStyle = css("--find");
      const h = Math.max(1.5, node.data("h") * sy);
      pen.fillRect((x - WIDE / 2 - left) * sx, (y - top) * sy - h / 2, WIDE * sx, h);
    });
    const view = graph.cy.extent();
    pen.strokeStyle = css("--accent");
    pen.lineWidth = 1.5;
    const clip = (value, most) => Math.min(most - 1, Math.max(1, value));
    const [x1, x2] = [clip((view.x1 - left) * sx, width), clip((view.x2 - left) * sx, width)];
    const [y1, y2] = [clip((view.y1 - top) * sy, height), clip((view.y2 - top) * sy, height)];
    pen.strokeRect(x1, y1, x2 - x1, Math.max(3, y2 - y1));
  }

  jump(event) {
    const { left, top, sx, sy } = this.scale(), { cy } = this.graph, zoom = cy.zoom();
    const x = left + event.offsetX / sx, y = top + event.offsetY / sy;
    cy.viewport({ zoom, pan: { x: cy.width() / 2 - zoom * x, y: cy.height() / 2 - zoom * y } });
  }
}
