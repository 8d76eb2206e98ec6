"use strict";
// The pictures of a run: decoding them when they are due, and coloring class ids.

const DECODED = 48; // Frames kept decoded.
const BRIGHT_ENOUGH = 0.35; // Mean of a frame's pixels, 0..1; darker ones can be brightened under the masks.
const OF_DIFFERENCES = 1.8; // Times as opaque are masks that show only differences.
const MOST_ADDED = 2; // Times a frame's own light that are added at most.

class Pictures {
  // Decodes the pictures of a run: for each pane an image, or the class id of every pixel.
  constructor(panes) {
    this.panes = panes;
    this.decoded = new Map();
  }

  at(place) {
    const known = this.decoded.get(place);
    this.decoded.delete(place);
    const pictures = known || Promise.all(this.panes.map((pane) => this.decode(pane, pane.pictures[place])));
    this.decoded.set(place, pictures);
    if (this.decoded.size > DECODED) this.decoded.delete(this.decoded.keys().next().value);
    return pictures;
  }

  async decode(pane, address) {
    if (!address) return null;
    const image = new Image();
    image.src = address;
    await image.decode();
    const size = { width: image.naturalWidth, height: image.naturalHeight };
    if (!pane.hasIds) return { ...size, image, added: missingLight(image) };
    const canvas = element("canvas", size);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, size.width, size.height).data;
    const ids = new Uint8Array(size.width * size.height);
    for (let i = 0; i < ids.length; i++) ids[i] = pixels[4 * i];
    return { ...size, ids };
  }
}

function missingLight(image) {
  // How many times its own light a picture lacks to be bright enough.
  const canvas = element("canvas", { width: 16, height: 12 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, 16, 12);
  const pixels = context.getImageData(0, 0, 16, 12).data;
  let sum = 0;
  pixels.forEach((value, at) => { if (at % 4 < 3) sum += value; });
  const light = sum / (255 * 3 * 16 * 12);
  return Math.min(MOST_ADDED, Math.max(0, BRIGHT_ENOUGH / Math.max(light, 0.01) - 1));
}

function drawBrightened(context, picture, added) {
  // Draws a picture over the whole canvas, and so many times more on top, as light.
  context.drawImage(picture.image, 0, 0, context.canvas.width, context.canvas.height);
  context.globalCompositeOperation = "lighter";
  for (let left = added; left > 0; left -= 1) {
    context.globalAlpha = Math.min(1, left);
    context.drawImage(picture.image, 0, 0, context.canvas.width, context.canvas.height);
  }
  context.globalAlpha = 1;
  context.globalCompositeOperation = "source-over";
}

function tinted(mask, other, look) {
  // The mask as a picture to lay over the source. other: the ids to leave out where they are the same, or null.
  const { width, height, ids } = mask;
  const tint = new ImageData(width, height);
  const pixels = new Uint32Array(tint.data.buffer);
  const tints = new Uint32Array(256);
  look.colors.forEach(([red, green, blue], id) => {
    const alpha = look.hidden.has(id) ? 0 : Math.round(255 * Math.min(1, look.opacity * (other ? OF_DIFFERENCES : 1)));
    tints[id] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  });
  const edge = (Math.round(255 * Math.min(1, look.opacity * 1.4)) << 24) | 0xffffff;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      if (other && other[i] === id) continue;
      const right = x + 1 < width ? ids[i + 1] : id;
      const below = y + 1 < height ? ids[i + width] : id;
      const border = !other && look.borders && (right !== id || below !== id) && (tints[id] || tints[right] || tints[below]);
      pixels[i] = border ? edge : tints[id];
    }
  }
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").putImageData(tint, 0, 0);
  return canvas;
}

function drawBorder(context, border, canvas, withHandle) {
  // The line between the two halves of a wiped picture.
  context.lineWidth = withHandle ? 2 : canvas.width / 80;
  context.strokeStyle = "#fff";
  context.shadowColor = "#000";
  context.shadowBlur = 4;
  context.beginPath();
  context.moveTo(border, 0);
  context.lineTo(border, canvas.height);
  context.stroke();
  context.shadowBlur = 0;
  if (!withHandle) return;
  context.shadowBlur = 4;
  context.fillStyle = "#fff";
  context.beginPath();
  context.arc(border, canvas.height / 2, 11, 0, 7);
  context.fill();
  context.shadowBlur = 0;
  context.fillStyle = "#333";
  for (const side of [-1, 1]) {
    context.beginPath();
    context.moveTo(border + side * 8, canvas.height / 2);
    context.lineTo(border + side * 2.5, canvas.height / 2 - 4.5);
    context.lineTo(border + side * 2.5, canvas.height / 2 + 4.5);
    context.fill();
  }
  canvas.setAttribute("aria-valuenow", Math.round((100 * border) / canvas.width));
}
