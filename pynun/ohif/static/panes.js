// Keeps the panes of the grid in step: sends what changed here, shows what changed elsewhere.
//
// A change of the camera makes one to a hundred events, and setting it makes them, too. So events only mark a pane,
// and once a frame what it shows is compared with what was last sent or shown for others. What follows from a change
// of others (an image that arrives, a window that adapts) is not ours: nothing is sent until a hand moves here.

import { fits, isPoint, isSame, readView, showView } from './views.js';

const PANES_MAX = 16;

const EVENTS = [
  'CAMERA_MODIFIED',
  'STACK_NEW_IMAGE',
  'VOLUME_NEW_IMAGE',
  'VOI_MODIFIED',
  'COLORMAP_MODIFIED',
  'IMAGE_RENDERED',
];
const HOLD_MS = 250;
const TRIES_MAX = 6;
const AGAIN_MS = 250;

export class Panes {
  #viewer;
  #sync;
  #marked = new Set();
  #states = new Map();
  #elements = new WeakSet();

  /** `sync` says what may be sent and followed, and has `room`, `hand` and `layout`. */
  constructor(viewer, sync) {
    this.#viewer = viewer;
    this.#sync = sync;
    const { eventTarget, Enums } = viewer.core;
    viewer.listen(eventTarget, Enums.Events.ELEMENT_ENABLED, ({ detail }) => this.#listen(detail.element));
    this.look();
  }

  /** Listens to the panes that are there, and takes part in their topics. */
  look() {
    const panes = this.#viewer.panes();
    // A viewer uses some names again, for panes that are new.
    const names = new Set(panes.map(({ viewportId }) => viewportId));
    for (const name of this.#states.keys()) if (!names.has(name)) this.#states.delete(name);
    panes.slice(0, PANES_MAX).forEach((pane, index) => {
      const viewport = this.#viewer.services.cornerstoneViewportService.getCornerstoneViewport(pane.viewportId);
      if (viewport?.element) this.#listen(viewport.element);
      this.#join(index);
    });
    this.#markAll();
  }

  #join(index) {
    this.#sync.room.join(`pane-${index}`, { weight: 4, onValue: () => this.#follow(index) });
  }

  #markAll() {
    for (const { viewportId } of this.#viewer.panes()) this.#marked.add(viewportId);
    this.#sync.plan();
  }

  /** Shows what the room has, in every pane. */
  followAll() {
    for (const state of this.#states.values()) state.followed = null;
    this.#viewer.panes().forEach((_, index) => this.#follow(index));
  }

  /** Sends every pane with the next frame, also those that nobody has moved. */
  publish() {
    this.#states.clear();
    this.#markAll();
  }

  /** Takes what all panes show now for what was agreed. */
  settle() {
    for (const pane of this.#viewer.panes()) this.#take(pane, this.#read(pane), true);
  }

  /** Once a frame: sends what a hand has changed here. */
  frame() {
    if (this.#marked.size === 0) return;
    const marked = this.#marked;
    this.#marked = new Set();
    this.#viewer.panes().forEach((pane, index) => {
      if (index >= PANES_MAX || !marked.has(pane.viewportId)) return;
      const state = this.#state(pane);
      if (state.isShowing) return;
      const view = this.#read(pane);
      if (view === null || isSame(view, state.last)) return;
      const isOurs = state.last === undefined ? this.#sync.layout.isOurs : this.#sync.hand.isAfter(state.shownAt);
      this.#take(pane, view, false);
      // A viewer shows another scale in a window of another size, and a border that is dragged makes many sizes.
      const { clientWidth: width, clientHeight: height } = this.#viewer.viewport(pane).element;
      if (state.width !== width || state.height !== height) Object.assign(state, { width, height, tries: 0 });
      // The room may have had a view of it before it was here; and what the viewer changes by itself is put right.
      if (!isOurs) this.#follow(index);
      if (!isOurs || !this.#sync.maySend('view')) return;
      state.movedAt = performance.now();
      this.#join(index);
      this.#sync.room.set(`pane-${index}`, view);
      this.#sync.onMoved(pane, this.#viewer.viewport(pane));
    });
  }

  /** Tells the room what a pane shows after a client changed it that can't, if that is ours to do. */
  teach(index) {
    const pane = this.#viewer.panes()[index];
    const view = pane && this.#read(pane);
    if (view && this.#sync.isSenior && this.#sync.maySend('view')) this.#sync.room.set(`pane-${index}`, view);
  }

  /** Changes a pane for others, by `change(viewport)`: what follows from it is not ours. */
  async changeFor(pane, change) {
    const viewport = this.#viewer.viewport(pane);
    const state = this.#state(pane);
    if (!viewport) return;
    state.isShowing = true;
    try {
      await change(viewport);
    } catch {
      // The pane went away, or its image can't be loaded: the next change may be shown.
    } finally {
      state.isShowing = false;
      state.shownAt = performance.now();
    }
    this.#take(pane, this.#read(pane), true);
  }

  async #follow(index) {
    const pane = this.#viewer.panes()[index];
    if (!pane || this.#sync.layout.isBusy || !this.#sync.isFollowing('view')) return;
    const state = this.#state(pane);
    if (state.isShowing) {
      state.isBehind = true;
      return;
    }
    const wait = HOLD_MS - (performance.now() - (state.movedAt ?? -HOLD_MS));
    if (wait > 0 && this.#sync.hand.isDown) {
      // The picture does not move under a hand. What the room has then, counts.
      clearTimeout(state.timer);
      state.timer = setTimeout(() => this.#follow(index), wait);
      return;
    }
    const known = this.#sync.room.known(`pane-${index}`);
    const view = known?.value;
    const viewport = this.#viewer.viewport(pane);
    if (!isView(view) || !viewport || !fits(this.#viewer.core, viewport, this.#seriesOf(pane), view)) return;
    if (state.followed !== known) Object.assign(state, { followed: known, tries: 0 });
    if (!isSame(view, state.last) && state.tries < TRIES_MAX) {
      state.tries += 1;
      await this.changeFor(pane, (shown) => showView(this.#viewer.core, shown, this.#wanted(view)));
      // A viewer that still loads its first image may show that after all.
      if (state.last?.image !== view.image) setTimeout(() => this.#follow(index), AGAIN_MS);
    }
    if (state.isBehind) {
      state.isBehind = false;
      this.#follow(index);
    }
  }

  /** Without what is not shared. */
  #wanted(view) {
    if (this.#sync.isShared('window')) return view;
    const { window: _window, invert: _invert, colormap: _colormap, ...rest } = view;
    return rest;
  }

  #listen(element) {
    if (this.#elements.has(element)) return;
    this.#elements.add(element);
    const { Events } = this.#viewer.core.Enums;
    for (const name of EVENTS) {
      this.#viewer.listen(element, Events[name], ({ detail }) => {
        this.#marked.add(detail.viewportId ?? detail.id);
        this.#sync.plan();
      });
    }
  }

  #read(pane) {
    const viewport = this.#viewer.viewport(pane);
    if (!viewport) return null;
    try {
      return readView(this.#viewer.core, viewport, this.#seriesOf(pane));
    } catch {
      return null; // it is being removed
    }
  }

  #take(pane, view, isForOthers) {
    const state = this.#state(pane);
    if (view !== null) state.last = view;
    if (isForOthers) state.shownAt = performance.now();
  }

  #state(pane) {
    let state = this.#states.get(pane.viewportId);
    if (!state) {
      // What a pane of ours shows while it comes to rest is ours, too.
      const shownAt = this.#sync.layout.isOurs ? -Infinity : performance.now();
      state = { last: undefined, isShowing: false, isBehind: false, shownAt };
      this.#states.set(pane.viewportId, state);
    }
    return state;
  }

  #seriesOf(pane) {
    const [uid] = pane.displaySetInstanceUIDs ?? [];
    return uid ? this.#viewer.nameOf(uid) : null;
  }
}

/** Whether a value of another browser is a view: it may be anything. */
function isView(value) {
  const { kind, camera } = value ?? {};
  return (
    ['stack', 'volume', '3d'].includes(kind) &&
    ['focalPoint', 'position', 'viewUp', 'viewPlaneNormal'].every((name) => isPoint(camera?.[name])) &&
    Number.isFinite(camera.parallelScale) &&
    camera.parallelScale > 0 &&
    (value.window === undefined || (Number.isFinite(value.window?.lower) && Number.isFinite(value.window?.upper))) &&
    (value.colormap === undefined || value.colormap === null || typeof value.colormap === 'string')
  );
}
