"use strict";
// The curves under the player. Each is an SVG as wide as its place; clicking or dragging goes to that frame.

const MARGIN = { left: 46, right: 8, top: 8, bottom: 6 };
const SERIES = ["--third", "--fourth", "--fixed", "--adapted"];
const OWN_COLORS = { fixed: "--fixed", adapted: "--adapted", "predict (fixed)": "--fixed", predict: "--adapted",
  adapt: "--third", "read and write": "--fourth", "step undone": "--bad" };

function colorOf(line, at) {
  return line.color || `var(${OWN_COLORS[line.name] || SERIES[at % SERIES.length]})`;
}

function readable(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value === 0 ? "0" : value.toPrecision(2);
}

function rounded(lowest, highest, count) {
  // Round numbers from at most `lowest` to at least `highest`.
  const raw = (highest - lowest || Math.abs(highest) || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => power * factor >= raw);
  const ticks = [];
  const first = Math.floor(lowest / step) - (lowest === highest && lowest !== 0 ? 1 : 0);
  for (let at = first; ; at++) {
    ticks.push(Number((at * step).toPrecision(12)));
    if (at * step >= highest && ticks.length > 1) return ticks;
  }
}

class Chart {
  constructor(chart, data, seek, isLast) {
    this.chart = chart;
    this.data = data;
    this.axis = isLast ? 18 : 0; // Only the last one numbers the frames.
    this.height = chart.marks ? 34 : 112;
    const series = chart.lines || chart.marks;
    this.outputs = series.map(() => element("output"));
    const keys = series.map((line, at) =>
      element("span", { class: "key", style: ["--color", colorOf(line, at)] }, ` ${line.name} `,
        chart.marks ? document.createTextNode(`(${line.at.length})`) : this.outputs[at]));
    this.svg = element("svg", { height: this.height + this.axis, role: "img", "aria-label": chart.title });
    const title = chart.title + (chart.unit ? `, ${chart.unit}` : "");
    this.root = element("figure", { class: "chart" },
      element("figcaption", {}, element("b", {}, title), element("span", {}, ...keys)), this.svg);
    const go = (event) => {
      const box = this.svg.getBoundingClientRect();
      const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
      seek(Math.min(1, Math.max(0, share)) * Math.max(1, this.data.frames - 1));
    };
    this.svg.addEventListener("pointerdown", (event) => { this.svg.setPointerCapture(event.pointerId); go(event); });
    this.svg.addEventListener("pointermove", (event) => { if (event.buttons) go(event); });
    this.position = 0;
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  x(position) {
    return MARGIN.left + (position / Math.max(1, this.data.frames - 1)) * (this.width - MARGIN.left - MARGIN.right);
  }

  draw() {
    this.width = this.svg.clientWidth;
    if (!this.width) return;
    this.svg.replaceChildren(...this.cuts(), ...this.numbers(), ...(this.chart.marks ? this.strip() : this.curves()));
    this.cursor = element("line", { class: "cursor", y1: 0, y2: this.height });
    this.svg.append(this.cursor);
    this.show(this.position);
  }

  cuts() {
    return this.data.cuts.map((cut) => element("line", { class: "cut", x1: this.x(cut), x2: this.x(cut), y1: 0, y2: this.height },
      element("title", {}, `cut at frame ${cut}`)));
  }

  numbers() {
    if (!this.axis) return [];
    const last = this.data.frames - 1;
    const ticks = rounded(0, last, Math.max(2, Math.floor(this.width / 160))).filter((tick) => tick <= last && Number.isInteger(tick));
    return ticks.map((tick, at) => element("text", { x: this.x(tick), y: this.height + 14, "text-anchor": at ? "middle" : "start" },
      at ? String(tick) : "frame 0"));
  }

  strip() {
    const wide = Math.max(1.5, Math.min(6, (this.width - MARGIN.left) / this.data.frames - 1));
    const band = (this.height - 6) / this.chart.marks.length;
    return this.chart.marks.flatMap((marks, at) => [
      element("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: 3 + band * (at + 1), y2: 3 + band * (at + 1) }),
      element("g", { class: "mark", style: ["--color", colorOf(marks, at)] }, ...marks.at.map((position) =>
        element("rect", { x: this.x(position) - wide / 2, y: 4 + band * at, width: wide, height: Math.max(2, band - 1) }))),
    ]);
  }

  curves() {
    const all = this.chart.lines.flatMap((line) => line.values.filter((value) => value !== null)).sort((a, b) => a - b);
    const usual = all[Math.floor(0.98 * (all.length - 1))];
    const highest = all[all.length - 1];
    const cut = usual > 0 && highest > 3 * usual; // Else one slow frame would flatten all others.
    const ticks = rounded(this.chart.fromZero ? 0 : all[0], cut ? usual * 1.2 : highest, 3);
    const [low, high] = [ticks[0], ticks[ticks.length - 1]];
    const bottom = this.height - MARGIN.bottom;
    const y = (value) => bottom - ((Math.min(value, high) - low) / (high - low || 1)) * (bottom - MARGIN.top);
    const digits = Math.max(0, -Math.floor(Math.log10(ticks[1] - ticks[0]) + 1e-9));
    const name = (tick) => tick.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    const grid = ticks.flatMap((tick) => [
      element("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y(tick), y2: y(tick) }),
      element("text", { x: MARGIN.left - 7, y: y(tick) + 4, "text-anchor": "end" }, name(tick)),
    ]);
    const note = cut ? [element("text", { x: this.width - MARGIN.right, y: MARGIN.top + 12, "text-anchor": "end" },
      `cut off above; highest ${readable(highest)}`)] : [];
    this.y = y;
    this.dots = this.chart.lines.map((line, at) => element("circle", { class: "dot", r: 3.5, style: ["--color", colorOf(line, at)] }));
    const paths = this.chart.lines.map((line, at) =>
      element("path", { class: "curve", style: ["--color", colorOf(line, at)], d: this.path(line.values, y) }));
    return [...grid, ...paths, ...note, ...this.dots];
  }

  path(values, y) {
    // Sparse values are joined across frames without one; lone values are drawn by a short stroke.
    const known = values.map((value, position) => [position, value]).filter(([, value]) => value !== null);
    const sparse = known.length < values.length / 2;
    let text = "";
    let before = -2;
    for (const [position, value] of this.thinned(known)) {
      const joined = before >= 0 && (sparse || position - before <= Math.max(1, values.length / this.width) * 2);
      text += `${joined ? "L" : "M"}${this.x(position).toFixed(1)} ${y(value).toFixed(1)}`;
      if (!joined) text += "h0.5";
      before = position;
    }
    return text;
  }

  thinned(known) {
    // The lowest and the highest value of each column of pixels, if there are many more frames than pixels.
    const size = Math.floor(known.length / this.width);
    if (size < 4) return known;
    const kept = [];
    for (let begin = 0; begin < known.length; begin += size) {
      const column = known.slice(begin, begin + size);
      const by = (better) => column.reduce((best, entry) => (better(entry[1], best[1]) ? entry : best));
      kept.push(...[by((a, b) => a < b), by((a, b) => a > b)].sort((a, b) => a[0] - b[0]));
    }
    return kept;
  }

  show(position) {
    // Moves the cursor, and says the values there.
    this.position = position;
    if (!this.cursor) return;
    const x = this.x(position);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    (this.chart.lines || []).forEach((line, at) => {
      const value = line.values[position] ?? null;
      this.outputs[at].textContent = readable(value);
      this.dots[at].toggleAttribute("hidden", value === null);
      this.dots[at].style.display = value === null ? "none" : "";
      if (value === null) return;
      this.dots[at].setAttribute("cx", x);
      this.dots[at].setAttribute("cy", this.y(value));
    });
  }
}
