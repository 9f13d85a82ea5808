// A viewer of image stacks: drag pans, the wheel turns the pages, Ctrl and the wheel zoom. The pictures are made here,
// so that a screenshot shows at once which study and which image of it one looks at, and from where.
import { Enums, RenderingEngine, cache, eventTarget, imageLoader, init, metaData } from '@cornerstonejs/core';
import { synchronise } from './synchronisation.js';

const IMAGE_SIDE = 256;
const IMAGES = 12;
const SLICE_MILLIMETRES = 5;
// What a picture is made of: a body, and in it something that moves and grows from one image to the next.
const STUDIES = { chest: { bodyX: 0.42, bodyY: 0.32 }, head: { bodyX: 0.3, bodyY: 0.4 } };

const notes = [];
const note = (kind, details) => notes.push({ kind, time: performance.now(), ...details });

function picture(study, index) {
  const { bodyX, bodyY } = STUDIES[study];
  const pixels = new Uint8Array(IMAGE_SIDE * IMAGE_SIDE);
  const isInside = (x, y, centreX, centreY, radiusX, radiusY) =>
    ((x - centreX) / radiusX) ** 2 + ((y - centreY) / radiusY) ** 2 < 1;
  for (let row = 0; row < IMAGE_SIDE; row += 1) {
    for (let column = 0; column < IMAGE_SIDE; column += 1) {
      const [x, y] = [column / IMAGE_SIDE, row / IMAGE_SIDE];
      let grey = 0;
      if (isInside(x, y, 0.5, 0.5, bodyX, bodyY)) grey = 70 + 60 * x;
      if (isInside(x, y, 0.35, 0.5, 0.09, 0.05 + index * 0.012)) grey = 30;
      if (isInside(x, y, 0.65, 0.5, 0.09, 0.05 + index * 0.012)) grey = 30;
      if (isInside(x, y, 0.35 + index * 0.028, 0.36, 0.03, 0.03)) grey = 245;
      // The number of the image, as a row of bars.
      if (y > 0.94 && y < 0.98 && x > 0.05 && Math.floor((x - 0.05) / 0.03) <= index && ((x - 0.05) % 0.03) < 0.02) {
        grey = 200;
      }
      pixels[row * IMAGE_SIDE + column] = grey;
    }
  }
  return pixels;
}

function imageIds(study) {
  return Array.from({ length: IMAGES }, (_, index) => {
    const imageId = `made:${study}-${index}`;
    if (!cache.getImageLoadObject(imageId)) {
      const image = imageLoader.createAndCacheLocalImage(imageId, {
        scalarData: picture(study, index),
        dimensions: [IMAGE_SIDE, IMAGE_SIDE],
        spacing: [1, 1],
        origin: [0, 0, index * SLICE_MILLIMETRES],
        direction: [1, 0, 0, 0, 1, 0],
        frameOfReferenceUID: `made:${study}`,
      });
      Object.assign(image, { windowCenter: 128, windowWidth: 256 });
    }
    return imageId;
  });
}

const studyOf = (address) => new URL(address).searchParams.get('study') ?? 'chest';
const element = document.querySelector('#viewport');
const state = document.querySelector('#state');
const remote = document.querySelector('#remote');

init();
metaData.addProvider((type) => (type === 'generalSeriesModule' ? { modality: 'OT' } : undefined));
eventTarget.addEventListener(Enums.Events.IMAGE_LOAD_ERROR, ({ detail }) => {
  reportError(detail[0]?.reason ?? detail.error);
});
const engine = new RenderingEngine('engine');
engine.enableElement({ viewportId: 'stack', type: Enums.ViewportType.STACK, element });
const viewport = engine.getViewport('stack');

async function show(study) {
  await viewport.setStack(imageIds(study), 0);
  viewport.resetCamera();
  viewport.render();
  describe();
}

function describe() {
  const [x, y] = viewport.getPan().map(Math.round);
  const image = viewport.getCurrentImageIdIndex() + 1;
  state.textContent =
    `${window.config.nunDb.key}, ${window.config.nunDb.user}: ${studyOf(location.href)}, image ${image} of ${IMAGES}, ` +
    `zoom ${viewport.getZoom().toFixed(2)}, pan ${x}, ${y}`;
}

const session = synchronise({
  viewport,
  address: () => location.href,
  openStudy: async (address) => {
    history.replaceState(null, '', address);
    await show(studyOf(address));
  },
  onNote: (kind, details) => {
    note(kind, details);
    if (details.error === 'permission denied') document.body.classList.add('read-only');
    if (kind === 'applied') describe();
  },
});

element.addEventListener(Enums.Events.IMAGE_RENDERED, () => note('rendered', {}));
element.addEventListener(Enums.Events.CAMERA_MODIFIED, describe);
element.addEventListener('pointermove', ({ buttons, movementX, movementY }) => {
  if (!(buttons & 1)) return;
  const [x, y] = viewport.getPan();
  viewport.setPan([x + movementX, y + movementY]);
  viewport.render();
});
element.addEventListener(
  'wheel',
  (event) => {
    event.preventDefault();
    const steps = Math.sign(event.deltaY);
    if (event.ctrlKey) {
      viewport.setZoom(viewport.getZoom() * 1.1 ** -steps);
      viewport.render();
    } else {
      const index = viewport.getCurrentImageIdIndex() + steps;
      if (index >= 0 && index < IMAGES) viewport.setImageIdIndex(index).then(describe);
    }
  },
  { passive: false },
);
remote.addEventListener('click', () => {
  const isOn = document.body.classList.toggle('remote');
  session.setRemoteControl(isOn);
  remote.textContent = `Remote control: ${isOn ? 'on' : 'off'}`;
});
document.querySelector('#other').addEventListener('click', async () => {
  const study = studyOf(location.href) === 'chest' ? 'head' : 'chest';
  history.replaceState(null, '', `?study=${study}`);
  await show(study);
  session.sendStudy();
});

await show(studyOf(location.href));
await session.open();
document.body.classList.add('ready');

/** What the test looks at and does beyond mouse and keyboard. */
window.viewer = {
  notes,
  nunDb: session.nunDb,
  /** Moves the camera again and again, each time to a new place some pixels away. */
  async move(times, intervalMilliseconds) {
    for (let number = 1; number <= times; number += 1) {
      viewport.setPan([40 * Math.sin(number / 7), 2 * number]);
      viewport.render();
      await new Promise((resolve) => setTimeout(resolve, intervalMilliseconds));
    }
  },
  /** What is seen: equal in two viewers when the cameras are equal and so is the picture, pixel by pixel. */
  view() {
    const { position, focalPoint, parallelScale, viewUp } = viewport.getCamera();
    return {
      camera: { position, focalPoint, parallelScale, viewUp },
      zoom: viewport.getZoom(),
      pan: viewport.getPan(),
      index: viewport.getCurrentImageIdIndex(),
      study: studyOf(location.href),
    };
  },
  pixels: () => viewport.getCanvas().toDataURL(),
};
