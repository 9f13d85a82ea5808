// The stack of slices, and drawing one: densities become grey values (the window), then pixels.

import { FIELD_MM, FIRST_SLICE, SIZE, SLICES } from './phantom.js';

const LOWEST = -1024;
const LEVELS = 4096;

export class Picture {
  #slices = new Map();
  #worker = new Worker('phantom-worker.js', { type: 'module' });
  #wanted = [];
  #isBusy = false;
  #canvas = document.createElement('canvas');
  #context;
  #image;
  #pixels;
  #table = new Uint32Array(LEVELS);
  #drawn = '';

  /** Calls `onSlice` when another slice can be drawn. */
  constructor(onSlice) {
    this.#canvas.width = this.#canvas.height = SIZE;
    this.#context = this.#canvas.getContext('2d', { alpha: false });
    this.#image = this.#context.createImageData(SIZE, SIZE);
    this.#pixels = new Uint32Array(this.#image.data.buffer);
    this.#worker.onmessage = ({ data }) => {
      this.#slices.set(data.slice, data.densities);
      this.#isBusy = false;
      this.#computeNext();
      onSlice();
    };
    // From the middle outwards, so that the neighbours are ready for scrolling.
    this.#wanted = [...Array(SLICES).keys()].sort((a, b) => Math.abs(a - FIRST_SLICE) - Math.abs(b - FIRST_SLICE));
    this.#computeNext();
  }

  #computeNext() {
    if (this.#isBusy || this.#wanted.length === 0) return;
    this.#isBusy = true;
    this.#worker.postMessage(this.#wanted.shift());
  }

  has(slice) {
    return this.#slices.has(slice);
  }

  /** The density at a place in millimetres, or null outside the picture. */
  densityAt(slice, x, y) {
    const column = Math.floor((x / FIELD_MM + 0.5) * SIZE);
    const row = Math.floor((y / FIELD_MM + 0.5) * SIZE);
    if (column < 0 || row < 0 || column >= SIZE || row >= SIZE) return null;
    return this.#slices.get(slice)?.[row * SIZE + column] ?? null;
  }

  /**
   * Draws a slice. `scale` is screen pixels per millimetre, `left` and `top` its corner. While it moves (`isMoving`) a
   * faster method is used; the eye sees no difference.
   */
  draw(context, { slice, level, width }, left, top, scale, isMoving) {
    const there = this.#nearest(slice);
    if (there === null) return;
    this.#apply(there, level, width);
    const side = FIELD_MM * scale;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = isMoving ? 'low' : 'high';
    context.drawImage(this.#canvas, left, top, side, side);
  }

  /** The wanted slice, which is then computed first; until then the nearest one available. */
  #nearest(slice) {
    if (this.#slices.has(slice)) return slice;
    const place = this.#wanted.indexOf(slice);
    if (place > 0) this.#wanted.unshift(...this.#wanted.splice(place, 1));
    let best = null;
    for (const other of this.#slices.keys()) {
      if (best === null || Math.abs(other - slice) < Math.abs(best - slice)) best = other;
    }
    return best;
  }

  #apply(slice, level, width) {
    const name = `${slice} ${level.toFixed(1)} ${width.toFixed(1)}`;
    if (name === this.#drawn) return;
    this.#drawn = name;
    const bottom = level - width / 2;
    for (let index = 0; index < LEVELS; index += 1) {
      const part = (index + LOWEST - bottom) / width;
      const grey = Math.round(255 * Math.min(1, Math.max(0, part)));
      this.#table[index] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    const densities = this.#slices.get(slice);
    for (let index = 0; index < densities.length; index += 1) {
      this.#pixels[index] = this.#table[Math.min(LEVELS - 1, Math.max(0, densities[index] - LOWEST))];
    }
    this.#context.putImageData(this.#image, 0, 0);
  }
}
