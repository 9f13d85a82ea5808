// Two people look at one study, with two versions of the viewer: each thing that is shared, done by one and seen by the
// other, then the other way round.
import { withBrowser } from '../browser/browser.js';
import { main, options } from '../javascript/harness.js';
import {
  arrows,
  bar,
  drag,
  forgetCameras,
  idOf,
  isSame,
  latencies,
  measure,
  middle,
  mostInASecond,
  now,
  open,
  point,
  press,
  ready,
  removeMeasurements,
  run,
  sentAfter,
  shown,
  sleep,
  together,
  wheel,
  withMeasurements,
} from './pages.js';

// Without a graphics card, large windows take long to draw.
const LARGE = { width: 1000, height: 680 };
const SMALL = { width: 840, height: 560 };
const LARGE_PICTURE = { width: 1280, height: 800 };
const SMALL_PICTURE = { width: 960, height: 640 };
const SETTLED_MS = 300;
const MOVES = 150;
const RESIZES = 12;

const setViewport = (page, change) =>
  page.evaluate((given) => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    viewport.setProperties(given);
    viewport.render();
  }, change);

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

const labelMeasurement = withMeasurements(() => {
  const { measurementService } = window.services;
  const [measurement] = measurementService.getMeasurements();
  measurementService.update(measurement.uid, { ...measurement, label: 'nodule <b>' }, true);
});

const hideMeasurement = withMeasurements(() => {
  const { measurementService } = window.services;
  measurementService.toggleVisibilityMeasurement(measurementService.getMeasurements()[0].uid);
});

/** Draws a closed line by hand: its corners are clicked, or it is drawn through them. */
const outline = async (page, tool, radius, isClicked) => {
  await run(page, 'setToolActiveToolbar', { toolName: tool, toolGroupIds: ['default'] });
  const [x, y] = await middle(page);
  const corners = [0, 60, 120, 180, 240, 300, 360].map((degrees) => {
    const angle = (degrees * Math.PI) / 180;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });
  await page.mouse.move(...corners[0]);
  if (!isClicked) await page.mouse.down();
  for (const corner of corners) {
    await page.mouse.move(...corner, { steps: 4 });
    if (isClicked) await page.mouse.click(...corner);
  }
  if (!isClicked) await page.mouse.up();
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
  'label the measurement': labelMeasurement,
  'hide the measurement': hideMeasurement,
  'remove the measurement': removeMeasurements,
  freehand: (page) => outline(page, 'PlanarFreehandROI', 70, false),
  spline: (page) => outline(page, 'SplineROI', 35, true),
  'remove both': removeMeasurements,
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
  const error = await STEPS[name](by).then(
    () => null,
    (problem) => String(problem.message).slice(0, 300),
  );
  const isRunning = name === 'film';
  const found = await together(by, other, isRunning ? (one, two) => one.film === two.film : undefined);
  if (!isRunning) await sleep(SETTLED_MS);
  const settled = isRunning ? found : await together(by, other);
  const differs = Object.keys(settled.here).filter((what) => !isSame(settled.here[what], settled.there[what]));
  console.error(by.name, name, `${found.waited} ms`, error ?? '', ...differs);
  return {
    name,
    by: by.name,
    error,
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
  await by.evaluate(() => {
    const { noted } = window;
    noted.frames = [];
    const note = (at) => noted.frames?.push(at) && requestAnimationFrame(note);
    requestAnimationFrame(note);
  });
  await drag(by, 'middle', MOVES, [0.5, 0.3]);
  const found = await together(by, other);
  await sleep(1500);
  const frames = await by.evaluate(() => {
    const { noted } = window;
    const { frames: seen } = noted;
    noted.frames = null;
    return seen;
  });
  const sent = (await sentAfter(by, from)).map(({ at }) => at);
  const changes = await by.evaluate((time) => window.noted.changed.filter((at) => at > time), from);
  const [lastSent, lastChange] = [Math.max(...sent), Math.max(...changes)];
  const meanwhile = frames.map((at, index) => [frames[index - 1] ?? at, at]);
  return {
    moves: MOVES,
    frames: sent.length,
    changes: changes.length,
    silentAfter: lastSent - lastChange,
    longestFrame: Math.max(
      ...meanwhile.filter(([begin, end]) => end >= lastChange && begin <= lastSent).map(([begin, end]) => end - begin),
    ),
    echoes: (await sentAfter(other, fromThere)).length,
    latencies: await latencies(by, other),
    here: found.here,
    there: found.there,
  };
}

/**
 * What both show after one's window got narrower as by a mouse that drags its border: meanwhile, the viewer shows
 * another scale each time.
 */
async function narrowed(page, other) {
  const { width, height } = page.viewportSize();
  await wheel(other, 1); // the other one leads
  for (let times = 1; times <= RESIZES; times += 1) {
    await page.setViewportSize({ width: width - 12 * times, height });
    await sleep(200);
  }
  const found = await together(other, page);
  await page.setViewportSize({ width, height });
  await together(other, page);
  return found;
}

/** Where the other's pointers are drawn, against where one points. */
async function pointer(by, other) {
  const world = await point(by);
  await sleep(1200);
  return arrows(other, world);
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

/** Whether each bar says that a document is not shared, while one has it in a pane and then: as if it were a series. */
async function unsharedSigns(left, right) {
  for (const page of [left, right]) {
    await page.evaluate(() => {
      const { displaySetService } = window.services;
      const [{ StudyInstanceUID }] = displaySetService.getActiveDisplaySets();
      displaySetService.addDisplaySets({
        displaySetInstanceUID: 'document',
        SOPClassHandlerId: '@ohif/extension-dicom-pdf.sopClassHandlerModule.dicom-pdf',
        SeriesInstanceUID: '2.25.99',
        SeriesNumber: 99,
        StudyInstanceUID,
        instances: [],
        renderedUrl: 'about:blank',
      });
    });
  }
  const seen = [];
  for (const [series, isSaid] of [
    [99, true],
    [1, false],
  ]) {
    await hang(left, 0, series);
    const signs = () => Promise.all([left, right].map((page) => bar(page, '.note').isVisible()));
    for (const end = Date.now() + 20_000; Date.now() < end && !isSame(await signs(), [isSaid, isSaid]);)
      await sleep(100);
    seen.push(await signs());
  }
  return seen;
}

/** Two connections of one page: how many signals that both give at the same time are heard, and a flood of changes. */
const connections = (page, server) =>
  page.evaluate(async (address) => {
    const [{ Connection }, { Room }] = await Promise.all(
      ['connection', 'room'].map((name) => import(`http://${address}/ohif/${name}.js`)),
    );
    const nothing = () => {};
    const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
    const connect = (name) =>
      new Promise((resolve) => {
        let room;
        const login = { db: 'features-of-db', user: 'client', token: 'client-pwd' };
        const connection = new Connection(`ws://${address}`, login, {
          onState: nothing,
          onEvent: (key, text) => room.take(key, text),
          onRemoved: (key) => room.gone(key),
          onAnswer: nothing,
          onRoundTrip: nothing,
          isFrameDue: () => false,
          onOpen: () => resolve([connection, room]),
        });
        room = new Room(connection, 'client-other-room', name);
        connection.start();
      });
    const [[one, oneRoom], [two, twoRoom]] = await Promise.all([connect('one'), connect('two')]);
    let heard = 0;
    for (const room of [oneRoom, twoRoom]) {
      room.join('people', { isEphemeral: true, isSignal: true, onValue: () => (heard += 1) });
    }
    for (let number = 0; number < 5; number += 1) {
      await wait(300);
      for (const room of [oneRoom, twoRoom]) room.set('people', number);
    }
    for (let number = 0; number < 100 && heard < 10; number += 1) await wait(50);
    for (const from = performance.now(); performance.now() - from < 2500; await wait(4)) {
      for (let key = 0; key < 20; key += 1) one.set(`client-flood-${key}`, () => String(key));
    }
    for (const connection of [one, two]) connection.stop();
    return heard;
  }, server);

/** The names that stand beside annotations, once there are any. */
async function authors(page) {
  for (const end = Date.now() + 10_000; ; await sleep(50)) {
    const names = await page.locator('#nun-db-authors span').allTextContents();
    if (names.length > 0 || Date.now() > end) return names;
  }
}

main(() =>
  withBrowser(options.chromium, {}, async (browser) => {
    const [chest, head] = options.paths;
    const [leftUrl, rightUrl] = [options.urls[0], `${options.urls[1]}ohif/`];
    const left = await open(browser, leftUrl + chest, LARGE, 'left', { person: 'Ana' });
    await wheel(left, 3);
    const right = await open(browser, rightUrl + chest, SMALL, 'right', {
      person: 'Ben',
      configure: (text) => `${text}window.config.routerBasename = "/ohif";`, // below a folder of its site
    });
    const late = await together(left, right);

    const dragged = [await longDrag(left, right), await longDrag(right, left)];
    const pointers = [await pointer(left, right), await pointer(right, left)];
    const resized = await narrowed(right, left);
    const steps = [];
    for (const [by, other] of [
      [left, right],
      [right, left],
    ]) {
      for (const name of Object.keys(STEPS)) {
        steps.push(await step(name, by, other));
        if (name === 'scroll in MPR') pointers.push(await pointer(by, other));
      }
    }
    const visibility = await segmentation(left, right);
    const signs = await unsharedSigns(left, right);
    await together(left, right);
    const fromIdle = [await now(left), await now(right)];
    await sleep(3000);
    const idle = [await sentAfter(left, fromIdle[0]), await sentAfter(right, fromIdle[1])];
    const most = await Promise.all([left, right].map(mostInASecond));
    const heard = await connections(right, options.server);
    most.push(await mostInASecond(right));

    await left.setViewportSize(LARGE_PICTURE);
    await right.setViewportSize(SMALL_PICTURE);
    await sleep(1000);
    await measure(left, 'Length');
    await together(left, right);
    const madeBy = await authors(right);
    await left
      .getByText('No, do not ask again')
      .first()
      .click({ timeout: 5000 })
      .catch(() => {});
    await pointer(left, right);
    await pointer(right, left);
    await left.screenshot({ path: `${options.artifacts}/ohif-left.png` });
    await right.screenshot({ path: `${options.artifacts}/ohif-right.png` });

    // Another study, opened by one: the other goes there by itself, without a new load of the page, and back.
    const from = await now(right);
    const goTo = async (path) => {
      await left.keyboard.press('Shift');
      await left.evaluate((to) => window.commandsManager.run('navigateHistory', { to }), `/${path}`);
      await right.waitForURL((url) => url.href === rightUrl + path, { timeout: 60_000 }).catch(() => {});
      await sleep(3000);
      await Promise.all([ready(left), ready(right)]);
    };
    await goTo(head);
    const study = await together(left, right);
    await wheel(right, 2);
    const inStudy = await together(right, left);
    const addresses = [left.url(), right.url()];
    await goTo(chest);
    const back = await together(left, right, (one, two) => one.annotations.length > 0 && isSame(one, two));
    return {
      late,
      dragged,
      pointers,
      resized,
      steps,
      visibility,
      signs,
      idle,
      most,
      heard,
      madeBy,
      study: { ...study, addresses, isSamePage: (await now(right)) > from },
      inStudy,
      back,
      buttons: await Promise.all([left, right].map((page) => page.locator('[data-cy="NunDbLive"]').count())),
      complaints: [...left.complaints, ...right.complaints],
    };
  }),
);
