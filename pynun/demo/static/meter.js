// Measures round trips: the time from sending a value to receiving its own event.

const TRIPS_MIN = 10; // fewer are an accident, and the first ones are those of a page that is still loading
const TRIPS_MAX = 100;
const SHOWN_MAX = 60;

export class Meter {
  #trips = [];
  #canvas;
  #texts;
  #isPlanned = false;

  constructor(canvas, texts) {
    this.#canvas = canvas;
    this.#texts = texts;
    new ResizeObserver(() => this.#plan()).observe(canvas);
  }

  add(milliseconds) {
    this.#trips.push(milliseconds);
    if (this.#trips.length > TRIPS_MAX) this.#trips.shift();
    this.#plan();
  }

  #plan() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    requestAnimationFrame(() => {
      this.#isPlanned = false;
      this.#show();
    });
  }

  #show() {
    const count = this.#trips.length;
    this.#texts.figures.hidden = count < TRIPS_MIN;
    this.#texts.waiting.hidden = count >= TRIPS_MIN;
    this.#texts.waiting.textContent = `Measured ${count} of ${TRIPS_MIN}…`;
    if (count < TRIPS_MIN) return;
    const sorted = [...this.#trips].sort((a, b) => a - b);
    const median = sorted[Math.floor((sorted.length - 1) / 2)];
    const last = this.#trips.at(-1);
    this.#texts.median.textContent = format(median);
    this.#texts.last.textContent = format(last);
    this.#texts.count.textContent = String(count);
    this.#canvas.setAttribute('aria-label', `The last round trips: median ${format(median)}, last ${format(last)} milliseconds`);
    this.#draw(median);
  }

  #draw(median) {
    const ratio = Math.min(devicePixelRatio || 1, 3);
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    if (width === 0 || height === 0) return;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const context = this.#canvas.getContext('2d');
    context.scale(ratio, ratio);
    const shown = this.#trips.slice(-SHOWN_MAX);
    // Keep one slow trip from flattening the others.
    const top = Math.max(4, median * 3);
    const yOf = (trip) => height - 2 - (Math.min(trip, top) / top) * (height - 4);
    context.strokeStyle = '#33475a';
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(0, yOf(median));
    context.lineTo(width, yOf(median));
    context.stroke();
    context.setLineDash([]);
    const step = width / SHOWN_MAX;
    shown.forEach((trip, index) => {
      const x = width - (shown.length - index) * step;
      context.fillStyle = trip > top ? '#ffb74d' : '#5ad1ff';
      context.fillRect(x, yOf(trip), Math.max(1, step - 1), height - yOf(trip));
    });
  }
}

function format(milliseconds) {
  return milliseconds < 10 ? milliseconds.toFixed(1) : String(Math.round(milliseconds));
}
