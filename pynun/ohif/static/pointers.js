// Where the others point: an arrow with a name in every pane that shows the place, whatever its size, zoom or layout.
//
// A pointer is a place in the patient (`pointer-ID`, ephemeral). The arrows lie in a layer of their own over the page:
// the viewer replaces the elements of its panes whenever it likes.

import { styleSheet } from './style_sheet.js';

const PREFIX = 'pointer-';
const SVG = 'http://www.w3.org/2000/svg';
const GLIDE_MS = 40;
const DISTANCE_MM = 1;

const STYLE = `
  :host { position: fixed; inset: 0; pointer-events: none; z-index: 40; overflow: hidden; contain: strict; }
  div { position: absolute; left: 0; top: 0; display: flex; align-items: flex-start; will-change: transform; }
  svg { width: 16px; height: 20px; fill: var(--colour); stroke: #000; stroke-width: 1; flex: none; }
  div.down svg { stroke: #fff; stroke-width: 2; }
  span { margin: 14px 0 0 -2px; padding: 0 5px; border-radius: 3px; background: var(--colour); color: #000;
    font: 600 11px/16px system-ui, sans-serif; white-space: nowrap; max-width: 160px; overflow: hidden;
    text-overflow: ellipsis; }
`;

export class Pointers {
  #viewer;
  #room;
  #me;
  #sync;
  #layer;
  #pointers = new Map();
  #elements = new WeakSet();
  #isPlanned = false;
  #frameAt = 0;
  #isShown = false;

  constructor(viewer, room, me, sync) {
    this.#viewer = viewer;
    this.#room = room;
    this.#me = me;
    this.#sync = sync;
    room.join(PREFIX + me, { isEphemeral: true, isMine: true, weight: 1 });
    const host = document.createElement('div');
    host.id = 'nun-db-pointers';
    host.setAttribute('aria-hidden', 'true');
    this.#layer = host.attachShadow({ mode: 'open' });
    this.#layer.adoptedStyleSheets = [styleSheet(STYLE)];
    document.body.append(host);
    const { eventTarget, Enums } = viewer.core;
    viewer.listen(eventTarget, Enums.Events.ELEMENT_ENABLED, ({ detail }) => this.#listen(detail.element));
    viewer.listen(eventTarget, Enums.Events.ELEMENT_DISABLED, () => this.#plan());
    addEventListener('resize', () => this.#plan());
    this.look();
  }

  /** Listens to the panes that are there. */
  look() {
    for (const pane of this.#viewer.panes()) {
      const element = this.#viewer.viewport(pane)?.element;
      if (element) this.#listen(element);
    }
  }

  /** Shows where this person points from now on. */
  add(id) {
    this.#room.join(PREFIX + id, {
      isEphemeral: true,
      onValue: (value) => this.#show(id, value),
      onGone: () => this.#hide(id),
    });
  }

  remove(id) {
    this.#room.leave(PREFIX + id);
    this.#hide(id);
  }

  #listen(element) {
    if (this.#elements.has(element)) return;
    this.#elements.add(element);
    this.#viewer.listen(element, 'pointermove', (event) => this.#point(element, event));
    this.#viewer.listen(element, 'pointerleave', () => this.#leave());
    this.#viewer.listen(element, this.#viewer.core.Enums.Events.IMAGE_RENDERED, () => {
      if (this.#pointers.size > 0) this.#plan();
    });
  }

  #point(element, { clientX, clientY, buttons }) {
    if (!this.#sync.maySend('pointers')) return this.#leave();
    const pane = this.#viewer.panes().find((one) => this.#viewer.viewport(one)?.element === element);
    const viewport = pane && this.#viewer.viewport(pane);
    if (!viewport || viewport.type === 'volume3d') return this.#leave();
    const box = element.getBoundingClientRect();
    const place = viewport.canvasToWorld([clientX - box.left, clientY - box.top]);
    const at = Array.from(place, (number) => Math.round(number * 100) / 100);
    if (!at.every(Number.isFinite)) return;
    this.#isShown = true;
    this.#room.set(PREFIX + this.#me, { frame: viewport.getFrameOfReferenceUID(), at, isDown: buttons !== 0 });
  }

  #leave() {
    if (!this.#isShown) return;
    this.#isShown = false;
    this.#room.set(PREFIX + this.#me, null);
  }

  #show(id, value) {
    const isPlace = Array.isArray(value?.at) && value.at.length === 3 && value.at.every(Number.isFinite);
    if (!isPlace || typeof value.frame !== 'string') return this.#hide(id);
    const pointer = this.#pointers.get(id) ?? { arrows: [], at: [...value.at] };
    Object.assign(pointer, { to: value.at, frame: value.frame, isDown: value.isDown === true });
    this.#pointers.set(id, pointer);
    this.#plan();
  }

  #hide(id) {
    for (const arrow of this.#pointers.get(id)?.arrows ?? []) arrow.element.remove();
    this.#pointers.delete(id);
  }

  #plan() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    requestAnimationFrame((now) => {
      this.#isPlanned = false;
      this.#draw(now);
    });
  }

  #draw(now) {
    const part = 1 - Math.exp(-Math.min(100, Math.max(4, now - this.#frameAt)) / GLIDE_MS);
    this.#frameAt = now;
    let isMoving = false;
    const panes = this.#sync.isShared('pointers')
      ? this.#viewer
          .panes()
          .map((pane) => this.#viewer.viewport(pane))
          .filter(Boolean)
      : [];
    for (const [id, pointer] of this.#pointers) {
      pointer.at = pointer.at.map((number, index) => number + (pointer.to[index] - number) * part);
      isMoving ||= distance(pointer.at, pointer.to) > 0.05;
      const person = this.#sync.find(id);
      const places = person ? panes.map((viewport) => placeIn(viewport, pointer)).filter(Boolean) : [];
      while (pointer.arrows.length > places.length) pointer.arrows.pop().element.remove();
      while (pointer.arrows.length < places.length) pointer.arrows.push(newArrow(this.#layer));
      places.forEach(([x, y], index) => {
        const { element, label } = pointer.arrows[index];
        element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
        element.style.setProperty('--colour', person.colour);
        element.classList.toggle('down', pointer.isDown);
        if (label.textContent !== person.name) label.textContent = person.name;
      });
    }
    if (isMoving) this.#plan();
  }
}

/** Where a pane of the page shows a place, in CSS pixels; null if it does not. */
export function placeIn(viewport, { at, to, frame }) {
  if (viewport.type === 'volume3d' || viewport.getFrameOfReferenceUID() !== frame) return null;
  const { focalPoint, viewPlaneNormal } = viewport.getCamera();
  const away = Math.abs(
    viewPlaneNormal.reduce((sum, number, index) => sum + number * (to[index] - focalPoint[index]), 0),
  );
  if (away > Math.max(DISTANCE_MM, thickness(viewport) / 2)) return null;
  const [x, y] = viewport.worldToCanvas(at);
  const { width, height, left, top } = viewport.element.getBoundingClientRect();
  return x >= 0 && y >= 0 && x <= width && y <= height ? [left + x, top + y] : null;
}

function thickness(viewport) {
  const { spacing } = viewport.getImageData?.() ?? {};
  return spacing ? Math.max(...spacing) : 0;
}

function distance(one, other) {
  return Math.hypot(...one.map((number, index) => number - other[index]));
}

function newArrow(layer) {
  const element = document.createElement('div');
  const arrow = document.createElementNS(SVG, 'svg');
  arrow.setAttribute('viewBox', '0 0 16 20');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', 'M1 1v15.5l4.2-3.8 2.7 6 2.7-1.2-2.7-5.9h5.7z');
  arrow.append(path);
  const label = document.createElement('span');
  element.append(arrow, label);
  layer.append(element);
  return { element, label };
}
