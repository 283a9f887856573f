const POINTS = 60, WIDTH = 120, HEIGHT = 32, MARGIN = 2;

// Spark draws the last values as a line into an SVG that has a path for the area and one for the line.
export class Spark {
  #svg; #values = [];
  constructor(svg) {
    this.#svg = svg;
    this.#draw();
  }

  add(value) {
    this.#values.push(value);
    if (this.#values.length > POINTS) this.#values.shift();
    this.#draw();
  }

  #draw() {
    const top = Math.max(1, ...this.#values);
    const step = WIDTH / (POINTS - 1);
    const x = (i) => (WIDTH - (this.#values.length - 1 - i) * step).toFixed(1);
    const y = (v) => (HEIGHT - MARGIN - (v / top) * (HEIGHT - 2 * MARGIN)).toFixed(1);
    const points = this.#values.map((v, i) => `${x(i)} ${y(v)}`);
    const line = points.length > 1 ? "M" + points.join("L") : "";
    this.#svg.querySelector(".line").setAttribute("d", line);
    this.#svg.querySelector(".area").setAttribute("d", line && `${line}L${WIDTH} ${HEIGHT}L${x(0)} ${HEIGHT}Z`);
  }
}
