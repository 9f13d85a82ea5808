// Two people look at one study: each thing that is shared, done by one and seen by the other, then the other way round.
import { withBrowser } from '../browser/browser.js';
import { main, options } from '../javascript/harness.js';
import {
  drag,
  forgetCameras,
  latencies,
  middle,
  now,
  open,
  press,
  ready,
  run,
  sentAfter,
  shown,
  sleep,
  together,
  wheel,
} from './pages.js';

const LARGE = { width: 1280, height: 800 };
const SMALL = { width: 900, height: 640 };
const SETTLED_MS = 300;
const MOVES = 150;

const setViewport = (page, change) =>
  page.evaluate((given) => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    viewport.setProperties(given);
    viewport.render();
  }, change);

/** The panes' own ids differ; the place says which one is meant. */
const idOf = (page, index) =>
  page.evaluate((number) => {
    const panes = [...window.services.viewportGridService.getState().viewports.values()];
    return panes.sort((one, other) => one.y - other.y || one.x - other.x)[number].viewportId;
  }, index);

const hang = async (page, index, series) => {
  await page.keyboard.press('Shift');
  await page.evaluate(
    ([viewportId, number]) => {
      const { viewportGridService, displaySetService } = window.services;
      const set = displaySetService.getActiveDisplaySets().find(({ SeriesNumber }) => Number(SeriesNumber) === number);
      viewportGridService.setDisplaySetsForViewports([
        { viewportId, displaySetInstanceUIDs: [set.displaySetInstanceUID] },
      ]);
    },
    [await idOf(page, index), series],
  );
};

const measure = async (page, tool) => {
  await run(page, 'setToolActiveToolbar', { toolName: tool, toolGroupIds: ['default'] });
  await drag(page, 'left', 12, [6, -2]);
};

const moveHandle = async (page) => {
  const handle = await page.evaluate(() => {
    const own = /ReferenceLines|Crosshairs|Overlay/;
    const all = window.cornerstoneTools.annotation.state.getAllAnnotations();
    const { data } = all.find(({ metadata }) => !own.test(metadata.toolName));
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    const { left, top } = viewport.element.getBoundingClientRect();
    const [x, y] = viewport.worldToCanvas(data.handles.points[1]);
    return [left + x, top + y];
  });
  await page.mouse.move(...handle);
  await page.mouse.down();
  for (let move = 1; move <= 8; move += 1) await page.mouse.move(handle[0] + 3 * move, handle[1] + 4 * move);
  await page.mouse.up();
};

const removeMeasurement = async (page) => {
  await page.keyboard.press('Shift');
  await page.evaluate(() => {
    const { measurementService } = window.services;
    measurementService.remove(measurementService.getMeasurements()[0].uid);
  });
};

const cine = async (page, isPlaying) => {
  await page.keyboard.press('Shift');
  await page.evaluate(
    ([id, plays]) => {
      window.services.cineService.setIsCineEnabled(plays);
      window.services.cineService.setCine({ id, isPlaying: plays, frameRate: 8 });
    },
    [await idOf(page, 0), isPlaying],
  );
  if (isPlaying) await sleep(1500);
};

const STEPS = {
  scroll: (page) => wheel(page, 4),
  'scroll back': (page) => wheel(page, -2),
  zoom: (page) => drag(page, 'right', 12, [0, 3]),
  pan: (page) => drag(page, 'middle', 12, [3, 2]),
  window: (page) => drag(page, 'left', 12, [4, 2]),
  rotate: (page) => press(page, 'r'),
  'flip horizontally': (page) => press(page, 'h'),
  'flip vertically': (page) => press(page, 'v'),
  invert: (page) => press(page, 'i'),
  reset: (page) => press(page, 'Space'),
  'colour map': async (page) => {
    await page.keyboard.press('Shift');
    await setViewport(page, { colormap: { name: 'hsv' } });
  },
  'colour map back': async (page) => {
    await page.keyboard.press('Shift');
    await setViewport(page, { colormap: { name: 'Grayscale' } });
  },
  measure: (page) => measure(page, 'Length'),
  'change the measurement': moveHandle,
  'remove the measurement': removeMeasurement,
  'window tool': (page) => run(page, 'setToolActiveToolbar', { toolName: 'WindowLevel', toolGroupIds: ['default'] }),
  film: (page) => cine(page, true),
  'film ends': (page) => cine(page, false),
  '2x2': (page) => run(page, 'setViewportGridLayout', { numRows: 2, numCols: 2 }),
  'other series': (page) => hang(page, 0, 2),
  'scroll the second pane': (page) => wheel(page, 3, 1),
  'back to 1x1': (page) => run(page, 'setViewportGridLayout', { numRows: 1, numCols: 1 }),
  MPR: (page) => run(page, 'setHangingProtocol', { protocolId: 'mpr' }),
  'scroll in MPR': (page) => wheel(page, 3, 1),
  'pan in MPR': async (page) => {
    await page.mouse.click(...(await middle(page, 1))); // the viewer's tools act in the active pane
    await sleep(1000);
    await drag(page, 'middle', 8, [3, 2], 1);
  },
  'back from MPR': (page) => run(page, 'setHangingProtocol', { protocolId: 'default', stageIndex: 0, reset: true }),
};

/** One step: what both show, and what each sent. While a film runs, it is only followed. */
async function step(name, by, other) {
  const began = Date.now();
  const [from, fromThere] = [await now(by), await now(other)];
  const before = JSON.stringify(await shown(by));
  await STEPS[name](by);
  const isRunning = name === 'film';
  const found = await together(by, other, isRunning ? (one, two) => one.film === two.film : undefined);
  if (!isRunning) await sleep(SETTLED_MS);
  const settled = isRunning ? found : await together(by, other);
  return {
    name,
    by: by.name,
    isChange: JSON.stringify(settled.here) !== before,
    here: settled.here,
    there: settled.there,
    waited: found.waited,
    took: Date.now() - began,
    sent: (await sentAfter(by, from)).length,
    echoes: (await sentAfter(other, fromThere)).map(({ commands }) => commands.map((one) => one.slice(0, 90))),
  };
}

async function longDrag(by, other) {
  const [from, fromThere] = [await now(by), await now(other)];
  await Promise.all([by, other].map(forgetCameras));
  await drag(by, 'middle', MOVES, [0.5, 0.3]);
  const found = await together(by, other);
  await sleep(1500);
  const frames = await sentAfter(by, from);
  const changes = await by.evaluate((time) => window.noted.changed.filter((at) => at > time), from);
  const times = frames.map(({ at }) => at);
  const most = times.map((at) => times.filter((one) => one >= at && one < at + 1000).length);
  return {
    moves: MOVES,
    frames: frames.length,
    changes: changes.length,
    silentAfter: Math.max(...times) - Math.max(...changes),
    mostInASecond: Math.max(...most),
    echoes: (await sentAfter(other, fromThere)).length,
    latencies: await latencies(by, other),
    here: found.here,
    there: found.there,
  };
}

/** Where the other's pointer is drawn, against where it points in the patient, in pixels of that window. */
async function pointer(by, other) {
  const [x, y] = await middle(by);
  const place = [x + 70, y - 40];
  await by.mouse.move(x, y);
  await by.mouse.move(...place, { steps: 3 });
  const world = await by.evaluate(([clientX, clientY]) => {
    const { viewport } = window.cornerstone.getEnabledElements()[0];
    const { left, top } = viewport.element.getBoundingClientRect();
    return Array.from(viewport.canvasToWorld([clientX - left, clientY - top]));
  }, place);
  await sleep(1200);
  return other.evaluate((point) => {
    const { viewport } = window.cornerstone.getEnabledElements()[0];
    const { left, top } = viewport.element.getBoundingClientRect();
    const [wantedX, wantedY] = viewport.worldToCanvas(point);
    const arrows = [...document.getElementById('nun-db-pointers').shadowRoot.querySelectorAll('div')];
    const boxes = arrows.map((arrow) => arrow.getBoundingClientRect());
    return {
      names: arrows.map((arrow) => arrow.textContent),
      off: boxes.map((box) => Math.hypot(box.left - left - wantedX, box.top - top - wantedY)),
    };
  }, world);
}

const segments = (page) =>
  page.evaluate(() => {
    const { segmentationService, viewportGridService } = window.services;
    const [one] = segmentationService.getSegmentationRepresentations(viewportGridService.getActiveViewportId());
    return one ? Object.values(one.segments).map(({ segmentIndex, visible }) => `${segmentIndex} ${visible}`) : null;
  });

/** A segmentation that both have, as if from a series; one hides a segment, then the other shows it. */
async function segmentation(left, right) {
  for (const page of [left, right]) {
    await page.evaluate(async () => {
      const { segmentationService, viewportGridService, displaySetService } = window.services;
      const viewportId = viewportGridService.getActiveViewportId();
      const [uid] = viewportGridService.getState().viewports.get(viewportId).displaySetInstanceUIDs;
      const segmentationId = await segmentationService.createLabelmapForDisplaySet(
        displaySetService.getDisplaySetByUID(uid),
        {
          label: 'Lungs',
          segments: { 1: { label: 'left', active: true }, 2: { label: 'right' } },
        },
      );
      await segmentationService.addSegmentationRepresentation(viewportId, { segmentationId, type: 'Labelmap' });
    });
  }
  await sleep(2500);
  const seen = [];
  for (const [by, other, isVisible] of [
    [left, right, false],
    [right, left, true],
  ]) {
    await by.keyboard.press('Shift');
    await by.evaluate((visible) => {
      const { segmentationService, viewportGridService } = window.services;
      const viewportId = viewportGridService.getActiveViewportId();
      const [one] = segmentationService.getSegmentationRepresentations(viewportId);
      segmentationService.setSegmentVisibility(viewportId, one.segmentationId, 1, visible, one.type);
    }, isVisible);
    const wanted = `1 ${isVisible}`;
    for (const end = Date.now() + 20_000; Date.now() < end && !(await segments(other))?.includes(wanted);)
      await sleep(100);
    seen.push([await segments(by), await segments(other)]);
  }
  return seen;
}

main(() =>
  withBrowser(options.chromium, {}, async (browser) => {
    const [first, second] = options.paths.map((path) => `${options.url}${path}`);
    const left = await open(browser, first, LARGE, 'left', 'Ana');
    await wheel(left, 3);
    const right = await open(browser, first, SMALL, 'right', 'Ben');
    const late = await together(left, right);

    const dragged = [await longDrag(left, right), await longDrag(right, left)];
    const pointers = [await pointer(left, right), await pointer(right, left)];
    const steps = [];
    const ways = options.isBothWays ? 2 : 1;
    for (const [by, other] of [
      [left, right],
      [right, left],
    ].slice(0, ways)) {
      for (const name of Object.keys(STEPS)) steps.push(await step(name, by, other));
    }
    const visibility = await segmentation(left, right);
    const fromIdle = [await now(left), await now(right)];
    await sleep(3000);
    const idle = [await sentAfter(left, fromIdle[0]), await sentAfter(right, fromIdle[1])];

    await measure(left, 'Length');
    await together(left, right);
    await left
      .getByText('No, do not ask again')
      .first()
      .click({ timeout: 5000 })
      .catch(() => {});
    await pointer(left, right);
    await pointer(right, left);
    await left.screenshot({ path: `${options.artifacts}/ohif-${options.version}-left.png` });
    await right.screenshot({ path: `${options.artifacts}/ohif-${options.version}-right.png` });

    // Another study, opened by one: the other goes there by itself, without a new load of the page.
    const from = await now(right);
    const to = new URL(second);
    await left.keyboard.press('Shift');
    await left.evaluate(
      (address) => window.commandsManager.run('navigateHistory', { to: address }),
      to.pathname + to.search,
    );
    await right.waitForURL((url) => url.href === second, { timeout: 60_000 }).catch(() => {});
    await sleep(3000);
    await Promise.all([ready(left), ready(right)]);
    const study = await together(left, right);
    await wheel(right, 2);
    const inStudy = await together(right, left);
    return {
      late,
      dragged,
      pointers,
      steps,
      visibility,
      idle,
      study: { ...study, url: right.url(), isSamePage: (await now(right)) > from },
      inStudy,
      buttons: await Promise.all([left, right].map((page) => page.locator('[data-cy="NunDbLive"]').count())),
      complaints: [...left.complaints, ...right.complaints],
    };
  }),
);
