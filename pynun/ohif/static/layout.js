// Keeps the grid in step: hanging protocol and stage, rows and columns, which series is where, and the open study.
//
// Ids of panes and display sets are random in every browser. So a pane is known by its place, a series by its UID, and
// an address is never followed: a study is opened by its UID, at the viewer's own address.

import { complain } from './complaints.js';
import { isSame } from './views.js';
import { until } from './viewer.js';

const TOPIC = 'layout';
const STEP_MS_MAX = 15_000;
const STUDY_MS_MAX = 30_000;

export class Layout {
  #viewer;
  #sync;
  #last;
  #isBusy = false;
  #wantsAgain = false;
  #isMarked = true;
  #refused = null;
  #hasLeft = false;
  #followedAt = Infinity; // until it is known whose layout counts

  constructor(viewer, sync) {
    this.#viewer = viewer;
    this.#sync = sync;
    const {
      viewportGridService: grid,
      hangingProtocolService: protocols,
      displaySetService: displaySets,
    } = viewer.services;
    const mark = () => this.#mark();
    viewer.subscribe(grid, ['GRID_STATE_CHANGED', 'LAYOUT_CHANGED', 'VIEWPORTS_READY'], mark);
    viewer.subscribe(protocols, ['PROTOCOL_CHANGED'], mark);
    viewer.subscribe(displaySets, ['DISPLAY_SETS_ADDED', 'DISPLAY_SETS_CHANGED'], () => {
      mark();
      if (!this.isOurs) this.follow(); // what the room shows may have come
    });
    // Leaving a study for the list of studies has no event of its own.
    viewer.listen(viewer.core.eventTarget, viewer.core.Enums.Events.ELEMENT_DISABLED, mark);
    sync.room.join(TOPIC, { weight: 100, onValue: () => this.follow() });
  }

  get isBusy() {
    return this.#isBusy;
  }

  #mark() {
    this.#isMarked = true;
    this.#sync.plan();
  }

  /** Sends the layout with the next frame, also if nobody has changed it. */
  publish() {
    this.#last = undefined;
    this.#followedAt = -Infinity;
    this.#mark();
  }

  /** Whether the layout that is shown was made here, not taken over. */
  get isOurs() {
    return this.#followedAt === -Infinity || this.#sync.hand.isAfter(this.#followedAt);
  }

  /** Whether the room shows a study that can't be opened here: then what is shown here is nobody else's. */
  get isElsewhere() {
    return this.#refused !== null && this.#refused === this.#sync.room.known(TOPIC)?.value?.study;
  }

  /** Tries again to open a study that could not be opened. */
  tryAgain() {
    this.#refused = null;
    return this.follow();
  }

  /** Once a frame: sends what a hand has changed here. */
  frame() {
    if (!this.#isMarked || this.#isBusy) return;
    this.#isMarked = false;
    const layout = this.read();
    if (layout === null) {
      if (this.#last === undefined || this.#viewer.study() !== null) return;
      this.#last = undefined;
      this.#hasLeft = true;
      this.#sync.onShown(null);
      return;
    }
    if (isSame(layout, this.#last)) return;
    const isNew = this.#last?.study !== layout.study || this.#last?.series.length !== layout.series.length;
    this.#last = layout;
    if (this.#hasLeft) {
      this.#hasLeft = false;
      // Back from the list of studies in the room's study, a viewer shows what the room does, as one that joins.
      if (this.#sync.room.known(TOPIC)?.value?.study === layout.study) {
        this.#followedAt = performance.now();
        this.follow();
      }
    }
    this.#sync.panes.look();
    this.#sync.onArranged();
    if (isNew) this.#sync.onShown(layout.study);
    if (this.isOurs && this.#sync.maySend('layout')) this.#sync.room.set(TOPIC, layout);
  }

  /** What is shown; null in the list of studies, and while panes are being made. */
  read() {
    const study = this.#viewer.study();
    const panes = this.#viewer.panes();
    if (study === null || panes.length === 0) return null;
    const { rows, columns } = this.#viewer.grid();
    const series = panes.map(({ displaySetInstanceUIDs: uids }) => (uids ?? []).map((uid) => this.#viewer.nameOf(uid)));
    if (series.flat().includes(null)) return null;
    return { study, ...this.#viewer.protocol(), rows, columns, series };
  }

  /** Shows the layout of the room, then its views. */
  follow() {
    return this.#follow().catch((error) => complain('internal error; please report it', error));
  }

  async #follow() {
    const wanted = this.#sync.room.known(TOPIC)?.value;
    if (!isLayout(wanted) || !this.#sync.isFollowing('layout')) return;
    if (this.#isBusy) {
      this.#wantsAgain = true;
      return;
    }
    if (isSame(wanted, this.read())) {
      this.#last = wanted;
      this.#followedAt = performance.now();
      this.#sync.panes.followAll();
      return;
    }
    this.#isBusy = true;
    this.#followedAt = Infinity; // nothing of what comes now is ours
    try {
      if (await this.#openStudy(wanted.study)) await this.#arrange(wanted);
    } catch (error) {
      complain('the layout could not be shown', error);
    } finally {
      this.#isBusy = false;
      this.#last = this.read() ?? undefined;
      this.#followedAt = performance.now();
    }
    this.#sync.panes.look();
    this.#sync.panes.settle();
    this.#sync.onArranged();
    this.#sync.onShown(this.#last?.study ?? null);
    if (this.#wantsAgain) {
      this.#wantsAgain = false;
      await this.#follow();
    } else this.#sync.panes.followAll();
  }

  async #openStudy(study) {
    const { studies } = this.#sync;
    if (studies.isOpening) await until(() => !studies.isOpening, STUDY_MS_MAX);
    if (this.#viewer.study() === study) return this.#isStudyShown(study);
    if (this.#refused === study) return false;
    const to = await studies.addressOf(study);
    if (to === null) {
      this.#refused = study;
      this.#sync.onStudyRefused();
      return false;
    }
    this.#refused = null;
    if (!studies.isAt(to)) this.#viewer.run('navigateHistory', { to });
    return this.#isStudyShown(study);
  }

  #isStudyShown(study) {
    return until(() => this.#viewer.study() === study && this.#isComplete(), STUDY_MS_MAX);
  }

  async #arrange({ protocol, stage, rows, columns, series }) {
    const now = this.#viewer.protocol();
    if (now.protocol !== protocol || now.stage !== stage) {
      // A protocol takes the series of the active pane.
      await this.#hang([series.flat()[0]].filter(Boolean), this.#viewer.grid().active);
      this.#viewer.run('setHangingProtocol', {
        protocolId: protocol,
        stageIndex: stage,
        ...(protocol === 'default' ? { reset: true } : {}),
      });
      // The panes of the new protocol come later; until then, the old ones are there.
      const isMade = () =>
        this.#viewer.protocol().protocol === protocol && this.#viewer.panes().length === series.length;
      await until(() => isMade() && this.#isComplete(), STEP_MS_MAX);
    }
    const shape = this.#viewer.grid();
    if (this.#viewer.panes().length !== series.length || shape.rows !== rows || shape.columns !== columns) {
      this.#viewer.run('setViewportGridLayout', { numRows: rows, numCols: columns });
      await until(() => this.#viewer.panes().length === series.length && this.#isComplete(), STEP_MS_MAX);
    }
    for (const [index, { viewportId }] of this.#viewer.panes().entries())
      await this.#hang(series[index] ?? [], viewportId);
    await until(() => this.#isComplete(), STEP_MS_MAX);
  }

  /** Puts series into a pane, if they are not there and this viewer has them. */
  async #hang(names, viewportId) {
    const grid = this.#viewer.services.viewportGridService;
    const pane = this.#viewer.panes().find((one) => one.viewportId === viewportId);
    const sets = names.map((name) => this.#viewer.displaySetOf(name)?.displaySetInstanceUID);
    if (!pane || sets.length === 0 || sets.includes(undefined)) return;
    if (isSame(sets, [...(pane.displaySetInstanceUIDs ?? [])])) return;
    grid.setDisplaySetsForViewports([{ viewportId, displaySetInstanceUIDs: sets }]);
    await until(() => this.#isComplete(), STEP_MS_MAX);
  }

  #isComplete() {
    const panes = this.#viewer.panes();
    return panes.length > 0 && panes.every((pane) => this.#viewer.isShown(pane));
  }
}

/** Whether a value of another browser is a layout: it may be anything. */
function isLayout(value) {
  const isSize = (number) => Number.isInteger(number) && number >= 1 && number <= 8;
  return (
    typeof value?.study === 'string' &&
    typeof value.protocol === 'string' &&
    Number.isInteger(value.stage) &&
    isSize(value.rows) &&
    isSize(value.columns) &&
    Array.isArray(value.series) &&
    value.series.length <= 64 &&
    value.series.every((names) => Array.isArray(names) && names.every((name) => typeof name === 'string'))
  );
}
