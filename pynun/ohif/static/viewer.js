// The viewer as the other modules see it: its services, the panes of its grid in reading order, its series.

import { complain } from './complaints.js';

const CORNERSTONE = '@ohif/extension-cornerstone.utilityModule.common';
const LOOKING_MS = 200;

/** The viewports that this extension understands: others (video, slides, ECG) are left alone. */
const TYPES = new Set(['stack', 'orthographic', 'volume3d']);

export class Viewer {
  constructor({ servicesManager, commandsManager, extensionManager, appConfig }) {
    this.services = servicesManager.services;
    this.commands = commandsManager;
    this.extensions = extensionManager;
    this.config = appConfig ?? {};
    this.core = null;
    this.tools = null;
  }

  /** Resolves when cornerstone can be had: the extension that brings it may come later than this one. */
  async ready() {
    for (;;) {
      const entry = this.extensions.getModuleEntry(CORNERSTONE);
      if (entry) {
        const { cornerstone, cornerstoneTools } = entry.exports.getCornerstoneLibraries();
        this.core = cornerstone;
        this.tools = cornerstoneTools;
        return;
      }
      await sleep(LOOKING_MS);
    }
  }

  /** Hears of a service's events. What fails here must not fail in the viewer, which would show an error page. */
  subscribe(service, names, callback) {
    for (const name of names) if (service?.EVENTS[name]) service.subscribe(service.EVENTS[name], guarded(callback));
  }

  /** Hears of cornerstone's events, of all panes or of one element. */
  listen(target, type, callback) {
    target.addEventListener(type, guarded(callback));
  }

  /** The panes of the grid in reading order, none before a study is shown. */
  panes() {
    let state;
    try {
      state = this.services.viewportGridService.getState();
    } catch {
      return [];
    }
    return [...(state?.viewports?.values() ?? [])].sort((one, other) => one.y - other.y || one.x - other.x);
  }

  grid() {
    if (this.panes().length === 0) return { rows: 1, columns: 1, active: null };
    const { layout, activeViewportId } = this.services.viewportGridService.getState();
    return { rows: layout?.numRows ?? 1, columns: layout?.numCols ?? 1, active: activeViewportId };
  }

  /** The cornerstone viewport of a pane; null until it has an image, and if it is not one whose view is shared. */
  viewport(pane) {
    const viewport = this.services.cornerstoneViewportService.getCornerstoneViewport(pane.viewportId);
    if (!viewport?.element || !TYPES.has(viewport.type)) return null;
    try {
      const hasImage = viewport.type === 'stack' ? viewport.getCornerstoneImage?.() : viewport.getActors?.().length;
      return hasImage ? viewport : null;
    } catch {
      return null; // it is being made or removed
    }
  }

  /** Whether a pane that has images shows them already. Documents and videos are not waited for. */
  isShown(pane) {
    if (!pane.displaySetInstanceUIDs?.some((uid) => this.displaySet(uid)?.images?.length)) return true;
    const { type } = this.services.cornerstoneViewportService.getCornerstoneViewport(pane.viewportId) ?? {};
    return this.viewport(pane) !== null || (type !== undefined && !TYPES.has(type));
  }

  /** Whether a pane shows something that every viewer moves on its own: a document, a video, a slide. */
  isUnshared(pane) {
    const hasImages = (uid) => this.displaySet(uid)?.images?.length;
    const uids = pane.displaySetInstanceUIDs ?? [];
    return uids.length > 0 && !uids.some(hasImages) && this.viewport(pane) === null;
  }

  displaySet(uid) {
    return uid ? this.services.displaySetService.getDisplaySetByUID(uid) : undefined;
  }

  /** What names a display set in every browser: its series, and which one of that series it is. */
  nameOf(displaySetUid) {
    const { SeriesInstanceUID: series } = this.displaySet(displaySetUid) ?? {};
    if (!series) return null;
    const number = this.#ofSeries(series).findIndex((one) => one.displaySetInstanceUID === displaySetUid);
    return number > 0 ? `${series}/${number}` : series;
  }

  displaySetOf(name) {
    const [series, number = '0'] = name.split('/');
    return this.#ofSeries(series)[Number(number)];
  }

  /** The study that is open, or null in the list of studies. */
  study() {
    if (this.panes().length === 0 || this.services.displaySetService.getActiveDisplaySets().length === 0) return null;
    const { activeStudyUID } = this.services.hangingProtocolService.getState() ?? {};
    const [first] = this.services.displaySetService.getActiveDisplaySets();
    return activeStudyUID ?? first.StudyInstanceUID;
  }

  /** The hanging protocol and its stage. */
  protocol() {
    const { protocolId, stageIndex } = this.services.hangingProtocolService.getState() ?? {};
    return { protocol: protocolId ?? 'default', stage: stageIndex ?? 0 };
  }

  notify(title, message, type = 'info') {
    this.services.uiNotificationService.show({ title, message, type, duration: 6000 });
  }

  run(command, options) {
    return this.commands.run(command, options);
  }

  #ofSeries(series) {
    return this.services.displaySetService.getDisplaySetsForSeries(series) ?? [];
  }
}

export const guarded =
  (callback) =>
  (...given) => {
    try {
      return callback(...given);
    } catch (error) {
      complain('internal error; please report it', error);
      return undefined;
    }
  };

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until a condition holds; false if it does not within the time. */
export async function until(condition, milliseconds) {
  for (const end = performance.now() + milliseconds; performance.now() < end; await sleep(50)) {
    if (condition()) return true;
  }
  return condition();
}
