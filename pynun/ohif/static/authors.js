// Who made what: the name of the person who made or last changed an annotation, beside it, for some seconds and then
// whenever the mouse is on it.

import { placeIn } from './pointers.js';
import { styleSheet } from './style_sheet.js';

const SHOWN_MS = 4000;

const STYLE = `
  :host { position: fixed; inset: 0; pointer-events: none; z-index: 39; overflow: hidden; contain: strict; }
  span { position: absolute; left: 0; top: 0; padding: 0 5px; border-radius: 3px; background: #0b1530e6;
    border: 1px solid var(--colour); color: var(--colour); font: 11px/15px system-ui, sans-serif; white-space: nowrap;
    max-width: 160px; overflow: hidden; text-overflow: ellipsis; }
`;

export class Authors {
  #viewer;
  #layer;
  #known = new Map(); // by the annotation's uid: {name, colour, until, tags}
  #elements = new WeakSet();
  #isPlanned = false;

  constructor(viewer) {
    this.#viewer = viewer;
    const host = document.createElement('div');
    host.id = 'nun-db-authors';
    host.setAttribute('aria-hidden', 'true');
    this.#layer = host.attachShadow({ mode: 'open' });
    this.#layer.adoptedStyleSheets = [styleSheet(STYLE)];
    document.body.append(host);
    const { Events } = viewer.core.Enums;
    viewer.listen(viewer.core.eventTarget, Events.ELEMENT_ENABLED, ({ detail }) => this.#listen(detail.element));
    viewer.listen(viewer.core.eventTarget, Events.ELEMENT_DISABLED, () => this.#plan());
    for (const pane of viewer.panes()) {
      const element = viewer.viewport(pane)?.element;
      if (element) this.#listen(element);
    }
  }

  /** An annotation was made or changed by somebody else. */
  set(uid, name, colour) {
    const { tags = [] } = this.#known.get(uid) ?? {};
    this.#known.set(uid, { name, colour, tags, until: performance.now() + SHOWN_MS });
    this.#plan();
    setTimeout(() => this.#plan(), SHOWN_MS + 100);
  }

  /** It was removed, or is our own again. */
  forget(uid) {
    for (const tag of this.#known.get(uid)?.tags ?? []) tag.remove();
    this.#known.delete(uid);
  }

  #listen(element) {
    if (this.#elements.has(element)) return;
    this.#elements.add(element);
    this.#viewer.listen(element, this.#viewer.tools.Enums.Events.ANNOTATION_RENDERED, () => this.#plan());
    this.#viewer.listen(element, this.#viewer.core.Enums.Events.IMAGE_RENDERED, () => this.#plan());
  }

  #plan() {
    if (this.#isPlanned || this.#known.size === 0) return;
    this.#isPlanned = true;
    requestAnimationFrame((now) => {
      this.#isPlanned = false;
      const panes = this.#viewer.panes().map((pane) => this.#viewer.viewport(pane));
      for (const [uid, author] of this.#known) this.#draw(uid, author, panes, now);
    });
  }

  #draw(uid, { name, colour, until, tags }, panes, now) {
    const annotation = this.#viewer.tools.annotation.state.getAnnotation(uid);
    const isShown = annotation && annotation.isVisible !== false && (annotation.highlighted || now < until);
    const at = isShown && (annotation.data.handles.points?.[0] ?? annotation.data.contour?.polyline?.[0]);
    const frame = annotation?.metadata.FrameOfReferenceUID;
    const places = at ? panes.map((pane) => pane && placeIn(pane, { at, to: at, frame })).filter(Boolean) : [];
    while (tags.length > places.length) tags.pop().remove();
    while (tags.length < places.length) {
      const tag = document.createElement('span');
      tags.push(tag);
      this.#layer.append(tag);
    }
    places.forEach(([x, y], index) => {
      const tag = tags[index];
      tag.style.transform = `translate(${(x + 8).toFixed(1)}px, ${(y + 8).toFixed(1)}px)`;
      tag.style.setProperty('--colour', colour);
      if (tag.textContent !== name) tag.textContent = name;
    });
  }
}
