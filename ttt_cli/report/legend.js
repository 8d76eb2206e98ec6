"use strict";
// The legend of the masks: which classes are drawn, and how much of the frame each covers.

function shares(mask) {
  // The percentage of each class id.
  const counts = new Uint32Array(256);
  for (const id of mask.ids) counts[id]++;
  return Array.from(counts, (count) => (100 * count) / mask.ids.length);
}

class Legend {
  // hidden: the ids of the classes that are not drawn, which changes. ondraw: called when it has changed.
  constructor(classes, hidden, comparing, ondraw) {
    this.entries = classes.map((kind, id) => {
      const change = () => { hidden[box.checked ? "delete" : "add"](id); ondraw(); };
      const box = element("input", { type: "checkbox", onchange: change });
      box.checked = !hidden.has(id);
      const output = element("output");
      const swatch = element("span", { class: "swatch", style: ["background", kind.color] });
      const item = element("li", {}, element("label", {}, box, swatch, element("span", {}, kind.name), output));
      item.hidden = !kind.occurs;
      return { box, output, item };
    });
    const all = (shown) => () => {
      this.entries.forEach((entry, id) => { entry.box.checked = shown; hidden[shown ? "delete" : "add"](id); });
      ondraw();
    };
    const buttons = element("div", { class: "group" }, element("button", { type: "button", onclick: all(true) }, "All"),
      element("button", { type: "button", onclick: all(false) }, "None"));
    const text = comparing ? "Share of this frame: fixed → adapted" : "Share of this frame";
    this.root = element("div", { class: "classes" },
      element("div", { class: "bar legend-bar" }, buttons, element("span", { class: "faint" }, text)),
      element("ul", { class: "legend" }, ...this.entries.map((entry) => entry.item)));
  }

  say(masks) {
    // masks: of each model, as far as there is one.
    const known = masks.filter((mask) => mask && mask.ids).map(shares);
    this.entries.forEach((entry, id) => {
      const values = known.map((all) => all[id]);
      entry.item.classList.toggle("absent", !values.some((value) => value >= 0.05));
      entry.output.textContent = values.map((value) => value.toFixed(1)).join(" → ") + " %";
    });
  }
}
