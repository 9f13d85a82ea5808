// Which segments are shown, in step; not their voxels, which every viewer loads itself.
//
// A segmentation's id is random where it comes from a series: it is known by that series, else by its label.

import { guarded } from './viewer.js';
import { isSame } from './views.js';

const TOPIC = 'segmentations';
const LATER_MS = 1000;

export class Segmentations {
  #viewer;
  #sync;
  #last = {};
  #isShowing = false;

  constructor(viewer, sync) {
    this.#viewer = viewer;
    this.#sync = sync;
    const { segmentationService } = viewer.services;
    viewer.subscribe(segmentationService, ['SEGMENTATION_REPRESENTATION_MODIFIED'], () => this.#take());
    // What comes later is shown as the room has it.
    viewer.subscribe(segmentationService, ['SEGMENTATION_ADDED'], () =>
      setTimeout(
        guarded(() => this.follow()),
        LATER_MS,
      ),
    );
    sync.room.join(TOPIC, { weight: 50, onValue: () => this.follow() });
  }

  /** Shows what the room has. */
  follow() {
    const wanted = this.#sync.room.known(TOPIC)?.value;
    if (!this.#sync.isFollowing('segmentations') || typeof wanted !== 'object' || wanted === null) return;
    const { segmentationService } = this.#viewer.services;
    this.#isShowing = true;
    this.#each((viewportId, representation, name) => {
      for (const { segmentIndex, visible } of Object.values(representation.segments ?? {})) {
        const isVisible = wanted[name]?.[segmentIndex];
        if (typeof isVisible !== 'boolean' || isVisible === visible) continue;
        segmentationService.setSegmentVisibility(
          viewportId,
          representation.segmentationId,
          segmentIndex,
          isVisible,
          representation.type,
        );
      }
    });
    this.#isShowing = false;
    this.#last = this.#read();
  }

  #take() {
    if (this.#isShowing) return;
    const shown = this.#read();
    if (isSame(shown, this.#last)) return;
    this.#last = shown;
    if (this.#sync.maySend('segmentations') && this.#sync.hand.isRecent()) this.#sync.room.set(TOPIC, shown);
  }

  #read() {
    const shown = {};
    this.#each((_, { segments }, name) => {
      shown[name] ??= {};
      for (const { segmentIndex, visible } of Object.values(segments ?? {}))
        shown[name][segmentIndex] = visible !== false;
    });
    return shown;
  }

  /** Every representation in every pane; of several panes, the active one comes last and so counts. */
  #each(use) {
    const { segmentationService } = this.#viewer.services;
    const panes = this.#viewer.panes();
    if (!segmentationService || panes.length === 0) return;
    const { active } = this.#viewer.grid();
    for (const { viewportId } of panes.sort((one) => (one.viewportId === active ? 1 : -1))) {
      for (const one of segmentationService.getSegmentationRepresentations(viewportId) ?? []) {
        const label = segmentationService.getSegmentation(one.segmentationId)?.label ?? '';
        use(viewportId, one, this.#viewer.nameOf(one.segmentationId) ?? `label:${label}`);
      }
    }
  }
}
