// Clients of the first extension (`ohif-nun-db`) in the same room: they know one pane, and say its camera and the
// index of its image, each {"_id": number, "value": …} in a key of its own (docs/protocol.md section 8). They follow
// the active pane of the person who moves, and move the active pane of everybody.
//
// What we say to them has a sender, which they ignore, and by which each of us knows that it is not one of theirs.

import { decode, encode } from './connection.js';
import { isPoint, isSame } from './views.js';

export class OldClients {
  #viewer;
  #connection;
  #sync;
  #camera;
  #index;
  #number = Date.now();
  #newest = {};

  constructor(viewer, connection, key, sync) {
    this.#viewer = viewer;
    this.#connection = connection;
    this.#sync = sync;
    this.#camera = `${key}-camera`;
    this.#index = `${key}-currentImageIdIndex`;
    connection.watch(this.#camera);
    connection.watch(this.#index);
  }

  /** Says what the pane that was moved here shows now. */
  send(viewport) {
    this.#set(this.#camera, viewport.getCamera());
    if (viewport.getCurrentImageIdIndex) {
      this.#set(this.#index, { currentImageIdIndex: viewport.getCurrentImageIdIndex() });
    }
  }

  /** An event; false if it is not of these keys. */
  take(key, text) {
    if (key !== this.#camera && key !== this.#index) return false;
    const content = decode(text);
    if (content?.value && content.from === undefined && this.#sync.isFollowingOld) this.#follow(key, content.value);
    return true;
  }

  #set(key, value) {
    this.#number += 1;
    this.#newest[key] = { _id: this.#number, value, from: this.#sync.me };
    this.#connection.set(key, () => encode(this.#newest[key])); // also if an earlier one is to be set again
  }

  async #follow(key, value) {
    const panes = this.#viewer.panes();
    const { active } = this.#viewer.grid();
    const index = Math.max(
      0,
      panes.findIndex(({ viewportId }) => viewportId === active),
    );
    if (!panes[index]) return;
    await this.#sync.panes.changeFor(panes[index], async (viewport) => {
      if (key === this.#camera) {
        if (!isCamera(value)) return;
        const { viewUp, viewPlaneNormal, position, focalPoint, parallelScale, flipHorizontal, flipVertical } = value;
        const now = viewport.getCamera();
        if (typeof flipHorizontal === 'boolean' && typeof flipVertical === 'boolean') {
          if (!isSame([flipHorizontal, flipVertical], [now.flipHorizontal, now.flipVertical])) {
            viewport.setCamera({ flipHorizontal, flipVertical });
          }
        }
        viewport.setCamera({ viewUp, viewPlaneNormal, position, focalPoint, parallelScale });
      } else {
        const number = value.currentImageIdIndex;
        const isThere =
          viewport.getImageIds && Number.isInteger(number) && number >= 0 && number < viewport.getImageIds().length;
        if (isThere && viewport.getCurrentImageIdIndex?.() !== number) await viewport.setImageIdIndex(number);
      }
      viewport.render();
    });
    this.#sync.panes.teach(index);
  }
}

function isCamera(value) {
  return (
    ['focalPoint', 'position', 'viewUp', 'viewPlaneNormal'].every((name) => isPoint(value[name])) &&
    Number.isFinite(value.parallelScale) &&
    value.parallelScale > 0
  );
}
