"use strict";
/* A volume and its map on a canvas: arrays of 8 bits that lie compressed in the page, and are unpacked when their case is opened. */

async function unpacked(id) {
  const text = document.getElementById(id).textContent;
  const letters = atob(text), packed = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i += 1) packed[i] = letters.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function short(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

class Viewer {
  constructor(palette, opacity, onMove) {
    this.palette = palette;
    this.usual = Math.round(100 * opacity);
    this.onMove = onMove;
    this.canvas = document.getElementById("view");
    this.controls = Object.fromEntries(["slice", "opacity", "threshold", "low", "high", "contours"].map((id) => [id, document.getElementById(id)]));
    for (const control of Object.values(this.controls)) control.addEventListener("input", () => this.draw());
    this.canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.step(event.deltaY > 0 ? 1 : -1); }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    document.getElementById("reset").addEventListener("click", () => this.reset());
    document.getElementById("hottest-slice").addEventListener("click", () => this.go(this.found.hottest));
    this.ready = false;
  }

  async open(found, number) {
    this.ready = false;
    const arrays = {};
    for (const name of found.arrays) arrays[name] = await unpacked(`case-${number}-${name}`);
    this.found = found;
    this.arrays = arrays;
    const [, rows, columns] = found.shape;
    this.canvas.width = columns;
    this.canvas.height = rows;
    const [across, down] = found.pixel;
    const scale = Math.min(560 / (columns * across), 560 / (rows * down));
    this.canvas.style.width = `${Math.round(columns * across * scale)}px`;
    this.canvas.style.aspectRatio = `${columns * across} / ${rows * down}`;
    this.controls.slice.max = found.shape[0] - 1;
    for (const label of document.querySelectorAll(".grey-only")) label.hidden = !found.range;
    document.getElementById("contours-label").hidden = !arrays.mask;
    document.getElementById("bar-low").textContent = short(found.scale[0]);
    document.getElementById("bar-high").textContent = short(found.scale[1]);
    const [left, top] = found.sides || ["", ""];
    document.getElementById("side-left").textContent = left;
    document.getElementById("side-top").textContent = top;
    this.ready = true;
    this.reset();
  }

  reset() {
    if (!this.found) return;
    const { controls, found } = this;
    controls.opacity.value = this.usual;
    controls.threshold.value = Math.ceil(this.level(found.scale[2], found.map));
    if (found.range) {
      controls.low.value = Math.round(this.level(found.window[0], found.range));
      controls.high.value = Math.round(this.level(found.window[1], found.range));
    }
    controls.contours.checked = true;
    this.go(found.hottest);
  }

  level(value, [low, high]) { return Math.min(255, Math.max(0, 255 * (value - low) / (high - low))); }
  value(level, [low, high]) { return low + level / 255 * (high - low); }
  go(slice) { this.controls.slice.value = slice; this.draw(); }
  step(by) { this.go(Number(this.controls.slice.value) + by); }

  key(event) {
    const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (event.key in steps) this.step(steps[event.key]);
    else if (event.key === "Home") this.go(0);
    else if (event.key === "End") this.go(this.found.shape[0] - 1);
    else return;
    event.preventDefault();
  }

  point(event) {
    if (!this.ready) return;
    const { found, arrays } = this;
    const [, rows, columns] = found.shape;
    const column = Math.floor(event.offsetX / this.canvas.clientWidth * columns);
    const row = Math.floor(event.offsetY / this.canvas.clientHeight * rows);
    if (column < 0 || row < 0 || column >= columns || row >= rows) return;
    const at = (Number(this.controls.slice.value) * rows + row) * columns + column;
    const map = `map ${short(this.value(arrays.map[at], found.map))}`;
    const image = found.range ? `, image ${short(this.value(arrays.image[at], found.range))}` : "";
    this.under = `row ${row * found.thinned}, column ${column * found.thinned}: ${map}${image}`;
    document.getElementById("under").textContent = this.under;
  }

  draw() {
    if (!this.ready) return;
    const { found, arrays, controls } = this;
    const [slices, rows, columns] = found.shape;
    const slice = Number(controls.slice.value), size = rows * columns, start = slice * size;
    const threshold = Number(controls.threshold.value), opacity = Number(controls.opacity.value) / 100;
    const low = Number(controls.low.value), high = Math.max(low + 1, Number(controls.high.value));
    const colours = this.colours(opacity, threshold), picture = new ImageData(columns, rows), out = picture.data;
    const outline = arrays.mask && controls.contours.checked;
    const period = Math.max(6, Math.floor(Math.min(rows, columns) / 24)), width = Math.max(1, Math.floor(period / 4));
    for (let i = 0; i < size; i += 1) {
      const at = start + i, to = 4 * i;
      let red = 0, green = 0, blue = 0;
      if (found.range) red = green = blue = 255 * Math.min(1, Math.max(0, (arrays.image[at] - low) / (high - low)));
      else if (found.colour) { red = arrays.image[3 * at]; green = arrays.image[3 * at + 1]; blue = arrays.image[3 * at + 2]; }
      const heat = 4 * arrays.map[at], alpha = colours[heat + 3];
      red += (colours[heat] - red) * alpha; green += (colours[heat + 1] - green) * alpha; blue += (colours[heat + 2] - blue) * alpha;
      if (arrays.hidden && arrays.hidden[at]) {
        const striped = (Math.floor(i / columns) + i % columns) % period < width;
        red = green = blue = 0.45 * (red + green + blue) / 3 + 20 + (striped ? 70 : 0);
      }
      if (outline && arrays.mask[at] && this.onEdge(arrays.mask, start, i, rows, columns)) { red = 86; green = 230; blue = 255; }
      out[to] = red; out[to + 1] = green; out[to + 2] = blue; out[to + 3] = 255;
    }
    this.canvas.getContext("2d").putImageData(picture, 0, 0);
    this.say(slice, slices, threshold, low, high);
    this.onMove(found.numbers[slice]);
  }

  onEdge(mask, start, i, rows, columns) {
    const row = Math.floor(i / columns), column = i % columns;
    return row === 0 || column === 0 || row === rows - 1 || column === columns - 1
      || !mask[start + i - 1] || !mask[start + i + 1] || !mask[start + i - columns] || !mask[start + i + columns];
  }

  colours(opacity, threshold) {
    /* Of every level of the map: red, green, blue, and how much of it covers what lies beneath. */
    const { found, palette } = this, out = new Float32Array(1024);
    const least = threshold < Math.ceil(this.level(found.scale[2], found.map)) ? 0.4 : 0; // below the run's threshold colours have faded
    for (let level = threshold; level < 256; level += 1) {
      const share = (this.value(level, found.map) - found.scale[0]) / (found.scale[1] - found.scale[0]);
      const from = 4 * Math.round(255 * Math.min(1, Math.max(0, share)));
      for (let channel = 0; channel < 3; channel += 1) out[4 * level + channel] = palette[from + channel];
      out[4 * level + 3] = opacity * Math.max(least, palette[from + 3] / 255);
    }
    return out;
  }

  say(slice, slices, threshold, low, high) {
    const { found } = this, said = (id, text) => { document.getElementById(id).textContent = text; };
    said("slice-said", `${found.numbers[slice]} (${slice + 1} of ${slices})`);
    said("opacity-said", `${this.controls.opacity.value} %`);
    said("threshold-said", short(this.value(threshold, found.map)));
    if (found.range) { said("low-said", short(this.value(low, found.range))); said("high-said", short(this.value(high, found.range))); }
    this.controls.slice.setAttribute("aria-valuetext", `slice ${found.numbers[slice]}`);
    this.canvas.dataset.slice = found.numbers[slice];
  }

  bar(canvas) {
    const picture = new ImageData(256, 14);
    for (let i = 0; i < 256 * 14; i += 1) {
      const from = 4 * (i % 256);
      picture.data.set([this.palette[from], this.palette[from + 1], this.palette[from + 2], 255], 4 * i);
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }
}
