// Other people's pointers over the picture: an arrow with the name that glides to its last position.

const GLIDE_MS = 40;
const SVG = 'http://www.w3.org/2000/svg';

export class Pointers {
  #layer;
  #viewport;
  #pointers = new Map();
  #frameAt = 0;
  #isFramePlanned = false;

  constructor(layer) {
    this.#layer = layer;
  }

  /** The viewport, which converts places to screen positions. */
  attach(viewport) {
    this.#viewport = viewport;
  }

  /** Shows a person's pointer at a place, as {x, y, isDown}; null or invalid values remove it. */
  show(person, place) {
    if (!Number.isFinite(place?.x) || !Number.isFinite(place?.y)) {
      this.remove(person.id);
      return;
    }
    let pointer = this.#pointers.get(person.id);
    if (!pointer) {
      pointer = { ...newElement(), x: place.x, y: place.y };
      this.#pointers.set(person.id, pointer);
      this.#layer.append(pointer.element);
    }
    pointer.toX = place.x;
    pointer.toY = place.y;
    pointer.element.classList.toggle('is-down', place.isDown === true);
    this.dress(person);
    this.#plan();
  }

  /** Updates a visible pointer's name and colour. */
  dress(person) {
    const pointer = this.#pointers.get(person.id);
    if (!pointer) return;
    pointer.label.textContent = person.name;
    pointer.element.style.setProperty('--colour', person.colour);
  }

  remove(id) {
    this.#pointers.get(id)?.element.remove();
    this.#pointers.delete(id);
  }

  get ids() {
    return [...this.#pointers.keys()];
  }

  /** Repositions all pointers after the picture has moved. */
  arrange() {
    for (const pointer of this.#pointers.values()) {
      const { left, top } = this.#viewport.toScreen(pointer.x, pointer.y);
      pointer.element.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
    }
  }

  #plan() {
    if (this.#isFramePlanned) return;
    this.#isFramePlanned = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  #frame(now) {
    this.#isFramePlanned = false;
    const part = 1 - Math.exp(-Math.min(100, Math.max(4, now - this.#frameAt)) / GLIDE_MS);
    this.#frameAt = now;
    let isMoving = false;
    for (const pointer of this.#pointers.values()) {
      pointer.x += (pointer.toX - pointer.x) * part;
      pointer.y += (pointer.toY - pointer.y) * part;
      isMoving ||= Math.hypot(pointer.toX - pointer.x, pointer.toY - pointer.y) > 0.05;
    }
    this.arrange();
    if (isMoving) this.#plan();
  }
}

function newElement() {
  const element = document.createElement('div');
  element.className = 'pointer';
  const arrow = document.createElementNS(SVG, 'svg');
  arrow.setAttribute('viewBox', '0 0 16 20');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', 'M1 1v15.5l4.200-3.800 2.700 6 2.700-1.200-2.700-5.900h5.700z');
  arrow.append(path);
  const label = document.createElement('span');
  element.append(arrow, label);
  return { element, label };
}
