"use strict";
// The player of a run: its panes in step, the masks over them, the legend, and the keys.

const AHEAD = 3; // Frames decoded before they are due.

class Player {
  // state: what the user has chosen; it outlives the player when the page is renewed.
  constructor(data, state, onseek) {
    this.data = data;
    this.state = state;
    this.onseek = onseek;
    this.pictures = new Pictures(data.panes);
    this.index = Object.fromEntries(data.panes.map((pane, index) => [pane.name, index]));
    this.colors = data.classes.map((kind) => [1, 3, 5].map((at) => parseInt(kind.color.slice(at, at + 2), 16)));
    this.comparing = "fixed" in this.index && "adapted" in this.index;
    this.masked = data.panes.some((pane) => pane.hasIds);
    this.names = data.panes.map((pane) => pane.name);
    if (state.view === undefined) state.view = this.comparing && matchMedia("(max-width: 44rem)").matches ? "wipe" : "panes";
    if (!this.comparing) state.view = "panes";
    this.root = this.build();
    this.layOut();
  }

  get place() {
    return this.state.place;
  }

  get position() {
    return this.data.positions[this.place];
  }

  build() {
    const { data, state } = this;
    const toggle = (text, name) => {
      const box = element("input", { type: "checkbox", onchange: () => this.set(name, box.checked) });
      box.checked = state[name];
      box.dataset.toggle = name;
      return element("label", {}, box, text);
    };
    const views = [["panes", "Side by side"], ["wipe", "Wipe"]].map(([view, text]) =>
      element("button", { type: "button", "data-view": view, onclick: () => this.view(view) }, text));
    const opacity = element("input", {
      type: "range", min: 5, max: 100, value: Math.round(100 * state.opacity), "aria-label": "Opacity of the masks",
      oninput: () => this.set("opacity", opacity.value / 100),
    });
    this.views = element("div", { class: "group", role: "group", "aria-label": "View" }, ...views);
    this.differences = this.comparing && this.masked ? toggle("only where they differ", "differences") : null;
    const bar = element("div", { class: "bar" }, this.comparing ? this.views : null,
      this.masked ? toggle("masks", "masks") : null, this.differences,
      this.masked ? toggle("brighten dark frames", "brighten") : null,
      this.masked ? element("label", {}, "opacity", opacity) : null);
    this.panes = element("div", { class: "panes" });
    this.scrub = element("input", {
      type: "range", class: "scrub", min: 0, max: data.positions.length - 1, step: 1, "aria-label": "Frame",
      oninput: () => this.go(Number(this.scrub.value)),
    });
    this.play = iconButton("play", "Play", () => this.toggle());
    this.speed = element("select", { "aria-label": "Speed", onchange: () => { state.speed = Number(this.speed.value); } },
      ...[0.25, 0.5, 1, 2, 4].map((value) => element("option", { value, selected: value === state.speed }, value + "×")));
    const buttons = element("div", { class: "buttons" },
      iconButton("first", "First frame", () => this.go(0)), iconButton("back", "Frame back", () => this.step(-1)),
      this.play, iconButton("forth", "Frame forward", () => this.step(1)),
      iconButton("last", "Last frame", () => this.go(Infinity)), this.speed,
      iconButton("full", "Full screen", () => this.full()));
    this.where = element("output", { class: "where", "aria-live": "off" });
    const transport = element("div", { class: "transport" }, buttons, this.scrub, this.where);
    const keys = element("p", { class: "keys" });
    [["space", "play"], ["← →", "a frame"], ["shift ← →", "ten"], ["Home End", "first, last"], ["f", "full screen"],
      ...(this.masked ? [["m", "masks"], ["b", "brighten"]] : []), ...(this.comparing ? [["w", "wipe"]] : []),
      ...(this.differences ? [["d", "differences"]] : [])]
      .forEach(([key, text]) => keys.append(element("kbd", {}, key), ` ${text}   `));
    this.legend = this.masked ? new Legend(data.classes, state.hidden, this.comparing, () => this.draw()) : null;
    return element("section", { class: "card player", "aria-label": "Player" }, bar, this.panes, transport,
      this.legend && this.legend.root, this.note(), keys);
  }

  note() {
    const { positions, frames } = this.data;
    const thinned = positions.length < frames;
    const text = `The player has ${positions.length} of the ${frames} frames, at even distances and those worth looking at.`;
    return thinned ? element("p", { class: "keys thinned" }, text) : null;
  }

  layOut() {
    // Makes the canvases of the view.
    const titles = { source: "Source", fixed: "Fixed", adapted: "Adapted", overlay: "Result" };
    const wipe = this.state.view === "wipe";
    for (const button of this.views.children) button.setAttribute("aria-pressed", button.dataset.view === this.state.view);
    const figure = (names) => {
      const canvas = element("canvas", { role: "img", "aria-label": names.map((name) => titles[name]).join(" and ") });
      const captions = names.map((name) => element("b", { class: name }, titles[name]));
      const scores = names.map(() => element("output"));
      const caption = element("figcaption", {}, ...captions.flatMap((text, at) =>
        [element("span", {}, ...(at ? [scores[at], " ", text] : [text, " ", scores[at]]))]));
      return { names, canvas, scores, figure: element("figure", { class: "pane" + (wipe ? " wipe" : "") }, caption, canvas) };
    };
    this.drawn = wipe ? [figure(["fixed", "adapted"])] : this.names.map((name) => figure([name]));
    this.panes.replaceChildren(...this.drawn.map((pane) => pane.figure));
    if (wipe) this.listenToWipe(this.drawn[0].canvas);
    this.draw();
  }

  listenToWipe(canvas) {
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      this.set("wipe", Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); at(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      this.set("wipe", Math.min(1, Math.max(0, this.state.wipe + by)));
    });
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "slider");
    canvas.setAttribute("aria-label", "Border between the fixed and the adapted model");
    canvas.setAttribute("aria-valuemin", 0);
    canvas.setAttribute("aria-valuemax", 100);
  }

  set(name, value) {
    this.state[name] = value;
    for (const box of this.root.querySelectorAll(`[data-toggle="${name}"]`)) box.checked = value;
    this.draw();
  }

  view(name) {
    this.state.view = name;
    this.layOut();
  }

  full() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.root.requestFullscreen) this.root.requestFullscreen();
  }

  seek(position) {
    // Goes to the frame in the player that is nearest to a frame of the run.
    const { positions } = this.data;
    let nearest = 0;
    positions.forEach((other, place) => {
      if (Math.abs(other - position) < Math.abs(positions[nearest] - position)) nearest = place;
    });
    this.go(nearest);
  }

  step(by) {
    this.stop();
    this.go(this.place + by);
  }

  go(place) {
    this.state.place = Math.min(this.data.positions.length - 1, Math.max(0, place));
    this.draw();
    this.onseek(this.position);
  }

  toggle() {
    if (this.playing) return this.stop();
    if (this.place === this.data.positions.length - 1) this.go(0);
    this.playing = true;
    this.nameOfPlay("pause", "Pause");
    let due = performance.now();
    const tick = async (now) => {
      if (!this.playing) return;
      if (now >= due) {
        const last = this.data.positions.length - 1;
        if (this.place === last) return this.stop();
        this.go(this.place + 1);
        await this.pending;
        due = Math.max(due + this.pause(), now - 100);
      }
      requestAnimationFrame(tick);
    };
    due += this.pause();
    requestAnimationFrame(tick);
  }

  pause() {
    // Milliseconds to the next frame.
    const { seconds, positions } = this.data;
    const next = positions[Math.min(positions.length - 1, this.place + 1)];
    return Math.max(10, (1000 * (seconds[next] - seconds[this.position])) / this.state.speed);
  }

  stop() {
    this.playing = false;
    this.nameOfPlay("play", "Play");
  }

  nameOfPlay(icon, name) {
    this.play.replaceWith((this.play = iconButton(icon, name, () => this.toggle())));
  }

  draw() {
    this.pending = this.drawNow(this.place);
    return this.pending;
  }

  async drawNow(place) {
    const { data } = this;
    const pictures = await this.pictures.at(place);
    if (place !== this.place) return; // Another frame was asked for meanwhile.
    const look = { colors: this.colors, hidden: this.state.hidden, opacity: this.state.opacity, borders: true };
    for (const pane of this.drawn) this.drawPane(pane, pictures, look);
    this.root.dataset.shown = this.position;
    this.scrub.value = place;
    this.scrub.setAttribute("aria-valuetext", `frame ${this.position} of ${data.frames}`);
    const name = /^[0-9]{6}$/.test(data.names[place]) ? "" : ` · ${data.names[place]}`; // Else only its number.
    this.where.textContent = `${data.seconds[this.position].toFixed(2)} s · frame ${this.position} / ${data.frames - 1}${name}`;
    this.sayScores();
    if (this.legend) this.legend.say([pictures[this.index.fixed], pictures[this.index.adapted]]);
    for (let next = place + 1; next <= place + AHEAD && next < data.positions.length; next++) this.pictures.at(next);
  }

  drawModel(context, name, pictures, look) {
    // Draws what a pane shows: a picture, or a mask over the source.
    const picture = pictures[this.index[name]];
    if (!picture) return;
    if (picture.image) return drawBrightened(context, picture, 0);
    const source = pictures[this.index.source];
    if (source) drawBrightened(context, source, this.state.masks && this.state.brighten ? source.added : 0);
    if (!this.state.masks) return;
    const rival = pictures[this.index[name === "fixed" ? "adapted" : "fixed"]];
    const mask = tinted(picture, this.state.differences && rival ? rival.ids : null, look);
    context.drawImage(mask, 0, 0, context.canvas.width, context.canvas.height);
  }

  drawPane(pane, pictures, look) {
    const size = pictures.find((picture) => picture);
    if (!size) return;
    const { canvas } = pane;
    const own = pictures[this.index[pane.names[0]]] || size;
    if (canvas.width !== own.width || canvas.height !== own.height) {
      Object.assign(canvas, { width: own.width, height: own.height });
      canvas.parentElement.style.setProperty("--ratio", own.width / own.height);
    }
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const border = Math.round(this.state.wipe * canvas.width);
    pane.names.forEach((name, at) => {
      context.save();
      if (pane.names.length > 1) {
        context.beginPath();
        context.rect(at ? border : 0, 0, at ? canvas.width : border, canvas.height);
        context.clip();
      }
      this.drawModel(context, name, pictures, look);
      context.restore();
    });
    if (pane.names.length > 1) drawBorder(context, border, canvas, pane.figure);
  }

  sayScores() {
    const { scores } = this.data;
    for (const pane of this.drawn) {
      pane.names.forEach((name, at) => {
        const value = scores[name] && scores[name][this.position];
        pane.scores[at].textContent = value === undefined || value === null ? "" : `${scores.name} ${value.toFixed(1)}`;
      });
    }
  }

  key(event) {
    // Whether the key was one of the player's.
    const by = event.shiftKey ? 10 : 1;
    const actions = {
      " ": () => this.toggle(), ArrowLeft: () => this.step(-by), ArrowRight: () => this.step(by), Home: () => this.step(-Infinity),
      End: () => this.step(Infinity), f: () => this.full(), m: () => this.masked && this.set("masks", !this.state.masks),
      b: () => this.masked && this.set("brighten", !this.state.brighten),
      w: () => this.comparing && this.view(this.state.view === "wipe" ? "panes" : "wipe"),
      d: () => this.differences && this.set("differences", !this.state.differences),
    };
    if (!(event.key in actions)) return false;
    actions[event.key]();
    return true;
  }

  async thumbnail(position, canvas) {
    // Draws a frame small: the source with the masks over it, half of each model if both are there.
    const pictures = await this.pictures.at(this.data.positions.indexOf(position));
    const names = this.comparing ? ["fixed", "adapted"] : [this.names[this.names.length - 1]];
    const look = { colors: this.colors, hidden: new Set(), opacity: 0.5, borders: false };
    const state = this.state;
    this.state = { ...state, masks: true, brighten: true, differences: false, wipe: 0.5 };
    this.drawPane({ names, canvas }, pictures, look);
    this.state = state;
  }
}
