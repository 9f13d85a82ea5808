// When a person last did something on this page: pressed, turned the wheel, typed, dragged. Hovering does not count.

const RECENT_MS = 5000;

export class Hand {
  #at = -Infinity;
  #isDown = false;

  constructor() {
    const act = (event) => {
      if (event.type === 'pointermove' && event.buttons === 0) return;
      this.#at = performance.now();
      if (event.type === 'pointerdown') this.#isDown = true;
      if (event.type === 'pointerup' || event.type === 'pointercancel') this.#isDown = false;
    };
    for (const type of [
      'pointerdown',
      'pointermove',
      'pointerup',
      'pointercancel',
      'wheel',
      'keydown',
      'keyup',
      'click',
    ]) {
      addEventListener(type, act, { capture: true, passive: true });
    }
  }

  /** Whether a button or finger is held. */
  get isDown() {
    return this.#isDown;
  }

  isAfter(time) {
    return this.#at > time;
  }

  /** Whether a person did something in the last seconds: what the viewer does now may follow from it. */
  isRecent() {
    return performance.now() - this.#at < RECENT_MS;
  }

  /** Something that a person has begun goes on by itself, such as a film. */
  goOn() {
    this.#at = performance.now();
  }
}
