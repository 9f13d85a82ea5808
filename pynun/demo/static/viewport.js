// Which part of the picture is shown, and how the user changes it.
//
// A view is {x, y, zoom, slice, level, width}: the millimetres at the middle of the screen, the magnification (1: the
// whole picture fits), the slice and the window. It means the same on every screen size. `target` is the current view;
// `shown` glides towards it, or follows at once while the user drags.

import { FIELD_MM, FIRST_SLICE, SLICES } from './phantom.js';

export const START = { x: 0, y: 0, zoom: 1, slice: FIRST_SLICE, level: 36, width: 84 };

export const PRESETS = [
  { name: 'Brain', level: 36, width: 84 },
  { name: 'Stroke', level: 33, width: 42 },
  { name: 'Subdural', level: 75, width: 230 },
  { name: 'Bone', level: 500, width: 2200 },
];

const GLIDE_MS = 45;
const ACTIVE_MS = 160;
const STILL_MS = 120;
const WHEEL_PIXELS_A_SLICE = 60;
const BOUNDS = {
  x: [-FIELD_MM / 2, FIELD_MM / 2],
  y: [-FIELD_MM / 2, FIELD_MM / 2],
  zoom: [0.5, 12],
  slice: [0, SLICES - 1],
  level: [-1000, 2000],
  width: [4, 4000],
};
const NAMES = Object.keys(BOUNDS);

const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

/** A view with every number within its limits, or null if it is invalid: others' messages are not trusted. */
export function cleanView(value) {
  if (typeof value !== 'object' || value === null) return null;
  const view = {};
  for (const name of NAMES) {
    if (typeof value[name] !== 'number' || !Number.isFinite(value[name])) return null;
    view[name] = Math.round(clamp(value[name], BOUNDS[name]) * 1000) / 1000;
  }
  view.slice = Math.round(view.slice);
  return view;
}

export class Viewport {
  #stage;
  #canvas;
  #context;
  #picture;
  #handlers;
  #target = { ...START };
  #shown = { ...START };
  #hands = new Map();
  #activeUntil = 0;
  #settleTimer = 0;
  #changedAt = 0;
  #stillTimer = 0;
  #wheelRest = 0;
  #tool = 'move';
  #isFramePlanned = false;
  #frameAt = 0;
  #width = 0;
  #height = 0;
  #ratio = 1;
  #reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

  /**
   * Handlers: onChange(view) when the user changed the view, onSettle() when the user stopped, onFrame(viewport) after
   * each drawing, onPoint(place or null) with the own pointer as {x, y, isDown} in millimetres.
   */
  constructor(stage, canvas, picture, handlers) {
    this.#stage = stage;
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d', { alpha: false });
    this.#picture = picture;
    this.#handlers = handlers;
    new ResizeObserver(() => this.#resize()).observe(stage);
    this.#listen();
  }

  get shown() {
    return this.#shown;
  }

  get target() {
    return this.#target;
  }

  /** Whether the user is changing the view now. */
  get isActive() {
    return this.#hands.size > 0 || performance.now() < this.#activeUntil;
  }

  get scale() {
    return (this.#shown.zoom * Math.min(this.#width, this.#height)) / FIELD_MM;
  }

  set tool(tool) {
    this.#tool = tool;
  }

  /** Applies another person's view. */
  follow(view) {
    this.#target = { ...view };
    this.#changedAt = performance.now();
    this.plan();
  }

  /** Changes parts of the view as the user does, gliding there. */
  change(part) {
    this.#touch();
    this.#put({ ...this.#target, ...part }, false);
  }

  zoomBy(factor) {
    this.change({ zoom: this.#target.zoom * factor });
  }

  scroll(slices) {
    this.change({ slice: this.#target.slice + slices });
  }

  toScreen(x, y) {
    const scale = this.scale;
    return { left: this.#width / 2 + (x - this.#shown.x) * scale, top: this.#height / 2 + (y - this.#shown.y) * scale };
  }

  plan() {
    if (this.#isFramePlanned) return;
    this.#isFramePlanned = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  #put(view, isDirect) {
    this.#target = cleanView(view);
    if (isDirect) this.#shown = { ...this.#target };
    this.#changedAt = performance.now();
    this.#handlers.onChange(this.#target);
    this.plan();
  }

  /** Input without a held button (wheel, keys, the page's buttons) is active for a moment. */
  #touch() {
    this.#activeUntil = performance.now() + ACTIVE_MS;
    clearTimeout(this.#settleTimer);
    this.#settleTimer = setTimeout(() => this.#settle(), ACTIVE_MS + 10);
  }

  #settle() {
    if (!this.isActive) this.#handlers.onSettle();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#stage;
    this.#ratio = Math.min(devicePixelRatio || 1, 2);
    this.#width = clientWidth;
    this.#height = clientHeight;
    this.#canvas.width = Math.round(clientWidth * this.#ratio);
    this.#canvas.height = Math.round(clientHeight * this.#ratio);
    this.#isFramePlanned = true;
    this.#frame(performance.now()); // now: a resized canvas is empty
  }

  #frame(now) {
    this.#isFramePlanned = false;
    const elapsed = Math.min(100, Math.max(0, now - this.#frameAt));
    this.#frameAt = now;
    const isResting = this.#glide(this.#reducedMotion.matches ? 1 : 1 - Math.exp(-Math.max(elapsed, 4) / GLIDE_MS));
    const isMoving = !isResting || now - this.#changedAt < STILL_MS;
    this.#draw(isMoving);
    this.#handlers.onFrame(this);
    if (!isResting) this.plan();
    else if (isMoving) this.#planStill();
  }

  /** Moves `shown` towards `target`; returns whether it is there. */
  #glide(part) {
    let isThere = true;
    for (const name of NAMES) {
      const gap = this.#target[name] - this.#shown[name];
      const near = name === 'zoom' ? 0.001 * this.#target.zoom : 0.02;
      if (name === 'slice' || Math.abs(gap) < near) {
        this.#shown[name] = this.#target[name];
      } else {
        this.#shown[name] += gap * part;
        isThere = false;
      }
    }
    return isThere;
  }

  /** Draws once more in full quality when the picture is at rest. */
  #planStill() {
    clearTimeout(this.#stillTimer);
    this.#stillTimer = setTimeout(() => this.plan(), STILL_MS + 20);
  }

  #draw(isMoving) {
    const scale = this.scale * this.#ratio;
    const { x, y } = this.#shown;
    this.#context.fillStyle = '#000';
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    const left = this.#canvas.width / 2 - (x + FIELD_MM / 2) * scale;
    const top = this.#canvas.height / 2 - (y + FIELD_MM / 2) * scale;
    this.#picture.draw(this.#context, this.#shown, left, top, scale, isMoving);
  }

  #place(event) {
    const box = this.#stage.getBoundingClientRect();
    const scale = this.scale;
    return {
      x: this.#shown.x + (event.clientX - box.left - this.#width / 2) / scale,
      y: this.#shown.y + (event.clientY - box.top - this.#height / 2) / scale,
    };
  }

  #listen() {
    const stage = this.#stage;
    stage.addEventListener('pointerdown', (event) => this.#press(event));
    stage.addEventListener('pointermove', (event) => this.#move(event));
    for (const name of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      stage.addEventListener(name, (event) => this.#release(event));
    }
    stage.addEventListener('pointerleave', (event) => {
      if (!this.#hands.has(event.pointerId)) this.#handlers.onPoint(null);
    });
    stage.addEventListener('contextmenu', (event) => event.preventDefault());
    stage.addEventListener('dblclick', () => this.change({ x: 0, y: 0, zoom: 1 }));
    stage.addEventListener('wheel', (event) => this.#turnWheel(event), { passive: false });
    stage.addEventListener('keydown', (event) => this.#pressKey(event));
    // Safari's own pinch events would zoom the whole page.
    stage.addEventListener('gesturestart', (event) => event.preventDefault());
  }

  #press(event) {
    const isWindow = event.button === 2 || event.shiftKey || this.#tool === 'window';
    this.#stage.setPointerCapture(event.pointerId);
    this.#hands.set(event.pointerId, { x: event.clientX, y: event.clientY, isWindow });
    this.#target = { ...this.#shown, slice: this.#target.slice }; // gliding stops when the user drags
    this.#handlers.onPoint({ ...this.#place(event), isDown: true });
  }

  #move(event) {
    const hand = this.#hands.get(event.pointerId);
    if (hand) {
      const before = this.#grip();
      const movedX = event.clientX - hand.x;
      const movedY = event.clientY - hand.y;
      hand.x = event.clientX;
      hand.y = event.clientY;
      if (movedX === 0 && movedY === 0) return;
      if (this.#hands.size === 1 && hand.isWindow) this.#dragWindow(movedX, movedY);
      else if (this.#hands.size <= 2) this.#dragPicture(before, this.#grip());
    }
    this.#handlers.onPoint({ ...this.#place(event), isDown: Boolean(hand) });
  }

  #release(event) {
    if (!this.#hands.delete(event.pointerId)) return;
    const isTouch = event.pointerType !== 'mouse';
    this.#handlers.onPoint(isTouch ? null : { ...this.#place(event), isDown: false });
    this.#settle();
  }

  /** The midpoint of the fingers and their distance. */
  #grip() {
    const hands = [...this.#hands.values()].slice(0, 2);
    const [first, second = first] = hands;
    return {
      clientX: (first.x + second.x) / 2,
      clientY: (first.y + second.y) / 2,
      spread: Math.hypot(first.x - second.x, first.y - second.y),
    };
  }

  #dragWindow(movedX, movedY) {
    const { level, width } = this.#target;
    const step = Math.max(0.25, width / 400);
    this.#put({ ...this.#target, width: width + movedX * step, level: level + movedY * step }, true);
  }

  /** Keeps what is under the fingers there. */
  #dragPicture(before, after) {
    const held = this.#place(before);
    const zoom = before.spread > 10 ? this.#target.zoom * (after.spread / before.spread) : this.#target.zoom;
    this.#zoomAround(held, after, zoom, true);
  }

  #zoomAround(held, event, zoom, isDirect) {
    const box = this.#stage.getBoundingClientRect();
    const clamped = clamp(zoom, BOUNDS.zoom);
    const scale = (clamped * Math.min(this.#width, this.#height)) / FIELD_MM;
    const x = held.x - (event.clientX - box.left - this.#width / 2) / scale;
    const y = held.y - (event.clientY - box.top - this.#height / 2) / scale;
    this.#put({ ...this.#target, x, y, zoom: clamped }, isDirect);
  }

  #turnWheel(event) {
    event.preventDefault();
    this.#touch();
    const pixels = event.deltaY * [1, 30, 300][event.deltaMode];
    if (event.ctrlKey || event.metaKey) {
      this.#zoomAround(this.#place(event), event, this.#shown.zoom * Math.exp(-pixels * 0.004), true);
      return;
    }
    this.#wheelRest += pixels;
    const slices = Math.trunc(this.#wheelRest / WHEEL_PIXELS_A_SLICE);
    if (slices === 0) return;
    // One notch of a wheel is one slice, however many pixels the browser reports.
    this.#wheelRest = Math.abs(pixels) >= WHEEL_PIXELS_A_SLICE ? 0 : this.#wheelRest - slices * WHEEL_PIXELS_A_SLICE;
    this.scroll(-Math.sign(slices));
  }

  #pressKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.#stage) return;
    const step = 12 / this.#target.zoom;
    const { x, y } = this.#target;
    const actions = {
      ArrowLeft: () => this.change({ x: x - step }),
      ArrowRight: () => this.change({ x: x + step }),
      ArrowUp: () => this.change({ y: y - step }),
      ArrowDown: () => this.change({ y: y + step }),
      PageUp: () => this.scroll(1),
      PageDown: () => this.scroll(-1),
      '+': () => this.zoomBy(1.25),
      '=': () => this.zoomBy(1.25),
      '-': () => this.zoomBy(1 / 1.25),
      0: () => this.change({ x: 0, y: 0, zoom: 1 }),
    };
    PRESETS.forEach(({ level, width }, index) => {
      actions[index + 1] = () => this.change({ level, width });
    });
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }
}
