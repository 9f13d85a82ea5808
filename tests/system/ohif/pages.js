// What the scenarios share: viewers in contexts of their own (other people), what they show, and what they send.
//
// The scenarios act with mouse and keys; where the viewer's own buttons are hard to find, they press a key first, as a
// person would have, and run the button's command.
// Long enough for a machine that is busy with other things: they cost nothing when all is well.
const READY_MS_MAX = 120_000;
const FOLLOW_MS_MAX = 60_000;

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What is to run in the page before anything else: notes what leaves, when and over what, and when cameras change. */
function note() {
  window.noted = { sent: [], changed: [], cameras: [], sockets: new Set() };
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function noteAndSend(text) {
    window.noted.sent.push({ at: performance.now(), text });
    window.noted.sockets.add(this);
    return send.call(this, text);
  };
}

/**
 * Opens a viewer; resolves when it shows its study and is in step with the room. `configure` changes the text of its
 * app-config.js.
 */
export async function open(browser, url, size, name, options = {}) {
  const page = await newPage(browser, size, name, options);
  await page.goto(url);
  await ready(page);
  return page;
}

/** A page that notes what the viewer does, with nothing in it yet. */
export async function newPage(browser, size, name, { person = null, configure = null } = {}) {
  const context = await browser.newContext({ viewport: size });
  context.setDefaultTimeout(READY_MS_MAX);
  const page = await context.newPage();
  page.name = name;
  if (person)
    await page.addInitScript(
      (called) => sessionStorage.setItem('nun-db-sync', JSON.stringify({ name: called })),
      person,
    );
  page.complaints = [];
  page.on('console', (message) => {
    if (message.text().includes('nun-db')) page.complaints.push(message.text());
  });
  page.on('pageerror', (error) => page.complaints.push(String(error.stack ?? error).slice(0, 500)));
  await page.addInitScript(note);
  if (configure)
    await page.route('**/app-config.js', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: configure(await response.text()) });
    });
  return page;
}

/** Waits until the viewer shows all its panes, and the bar says that it is connected. */
export async function ready(page) {
  await page
    .waitForFunction(
      () => {
        try {
          const { viewportGridService, cornerstoneViewportService } = window.services;
          const panes = [...viewportGridService.getState().viewports.values()];
          const isShown = ({ viewportId }) => {
            const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportId);
            return viewport?.getCornerstoneImage?.() || viewport?.getActors?.().length;
          };
          const dot = document.getElementById('nun-db-bar')?.shadowRoot.querySelector('.dot');
          return panes.length > 0 && panes.every(isShown) && dot?.classList.contains('connected');
        } catch {
          return false;
        }
      },
      null,
      { timeout: READY_MS_MAX, polling: 100 },
    )
    .catch(async (error) => {
      const said = await page.evaluate(() => [
        document.getElementById('nun-db-bar')?.shadowRoot.querySelector('section').textContent ?? 'no bar',
        String(document.querySelectorAll('canvas').length),
        ...window.noted.sent.slice(0, 40).map(({ text }) => text.slice(0, 60)),
      ]);
      throw new Error([page.name, ...said, ...page.complaints, error.message].join('; '));
    });
  await page.evaluate(() => {
    if (window.noted.isListening) return;
    window.noted.isListening = true;
    const { Events } = window.cornerstone.Enums;
    const listen = (element) => {
      for (const name of [Events.CAMERA_MODIFIED, Events.VOI_MODIFIED]) {
        element.addEventListener(name, () => window.noted.changed.push(performance.now()));
      }
      element.addEventListener(Events.CAMERA_MODIFIED, ({ detail }) => {
        const place = Array.from(detail.camera.focalPoint, (number) => number.toFixed(2)).join(' ');
        window.noted.cameras.push([performance.timeOrigin + performance.now(), place]);
      });
    };
    for (const { viewport } of window.cornerstone.getEnabledElements()) listen(viewport.element);
    window.cornerstone.eventTarget.addEventListener(Events.ELEMENT_ENABLED, ({ detail }) => listen(detail.element));
  });
}

/** What a viewer shows, as plain text lines: one for each pane, and the rest that is shared. */
export const shown = (page) =>
  page.evaluate(() => {
    const {
      viewportGridService: grid,
      cornerstoneViewportService: viewports,
      displaySetService: sets,
    } = window.services;
    const { hangingProtocolService: protocols, toolGroupService: groups, cineService: cine } = window.services;
    const near = (point) => Array.from(point, (number) => Math.round(number * 100) / 100 || 0).join(' ');
    /** How far a line drawn by hand goes, in whole millimetres. */
    const extent = (points) =>
      [0, 1, 2]
        .map((axis) => points.map((point) => point[axis]))
        .map((all) => Math.round(Math.max(...all) - Math.min(...all)));
    const state = grid.getState();
    const panes = [...state.viewports.values()].sort((one, other) => one.y - other.y || one.x - other.x);
    const lines = panes.map(({ viewportId, displaySetInstanceUIDs }) => {
      const viewport = viewports.getCornerstoneViewport(viewportId);
      const series = (displaySetInstanceUIDs ?? [])
        .map((uid) => sets.getDisplaySetByUID(uid)?.SeriesInstanceUID)
        .join();
      if (!viewport) return `empty ${series}`;
      const camera = viewport.getCamera();
      const { voiRange, invert, colormap } = viewport.getProperties?.() ?? {};
      return [
        viewport.type,
        series,
        `slice ${viewport.getCurrentImageIdIndex?.() ?? viewport.getSliceIndex?.()}`,
        `at ${near(camera.focalPoint)} scale ${camera.parallelScale.toFixed(2)}`,
        `up ${near(camera.viewUp)} normal ${near(camera.viewPlaneNormal)}`,
        `window ${Math.round(voiRange?.lower)} ${Math.round(voiRange?.upper)}`,
        `${Boolean(invert)} ${colormap?.name ?? ''}`,
      ].join('; ');
    });
    const { annotation } = window.cornerstoneTools;
    const own = /ReferenceLines|Crosshairs|Overlay/;
    const drawn = annotation.state.getAllAnnotations().filter(({ metadata }) => !own.test(metadata.toolName));
    const { protocolId, stageIndex } = protocols.getState();
    return {
      panes: lines,
      layout: `${protocolId} ${stageIndex} ${state.layout.numRows}x${state.layout.numCols}`,
      tool: groups.getActivePrimaryMouseButtonTool('default'),
      film: Boolean(cine.getState().isCineEnabled),
      annotations: drawn
        .map(
          ({ annotationUID, metadata, data, isVisible }) =>
            `${annotationUID} ${metadata.toolName} ${data.label ?? ''} ${data.handles.points.map(near).join(', ')}; ${
              data.spline?.type ?? (data.contour ? extent(data.contour.polyline) : '')
            } ${data.contour?.closed} ${isVisible !== false}`,
        )
        .sort(),
      measurements: window.services.measurementService.getMeasurements().map(({ label }) => label),
    };
  });

export const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Waits until a viewer shows what another one does; returns both, and how long it took. */
export async function together(here, there, isEnough = isSame) {
  const began = Date.now();
  for (;;) {
    const [one, other] = await Promise.all([shown(here), shown(there)]);
    const waited = Date.now() - began;
    if (isEnough(one, other) || waited > FOLLOW_MS_MAX) return { here: one, there: other, waited };
    await sleep(50);
  }
}

/** Messages with changes that a page sent after a time of its own clock: pointers, old shapes and questions aside. */
export async function sentAfter(page, from) {
  const isOther = /-(pointer-|camera |currentImageIdIndex )/;
  const sent = await allSentAfter(page, from);
  return sent
    .map(({ at, commands }) => ({ at, commands: commands.filter((one) => !isOther.test(one)) }))
    .filter(({ commands }) => commands.length > 0);
}

async function allSentAfter(page, from) {
  const sent = await page.evaluate((time) => window.noted.sent.filter(({ at }) => at > time), from);
  return sent.map(({ at, text }) => ({ at, commands: text.split(';').filter((one) => one.startsWith('set-')) }));
}

/** The most changes of any kind that a page has sent within a second. */
export async function mostInASecond(page) {
  const times = (await allSentAfter(page, 0)).flatMap(({ at, commands }) => commands.map(() => at));
  return Math.max(...times.map((at) => times.filter((one) => one >= at && one < at + 1000).length));
}

export const now = (page) => page.evaluate(() => performance.now());

/** Milliseconds from each camera that a page set until another one has it; both clocks are the machine's. */
export async function latencies(by, other) {
  const [here, there] = await Promise.all([by, other].map((page) => page.evaluate(() => window.noted.cameras)));
  const first = new Map();
  for (const [at, place] of there) if (!first.has(place)) first.set(place, at);
  const last = new Map(here.map(([at, place]) => [place, at]));
  return [...last].filter(([place]) => first.has(place)).map(([place, at]) => first.get(place) - at);
}

export const forgetCameras = (page) => page.evaluate(() => window.noted.cameras.splice(0));

export async function middle(page, index = 0) {
  const { x, y, width, height } = await page.locator('.cornerstone-canvas').nth(index).boundingBox();
  return [x + width / 2, y + height / 2];
}

export async function drag(page, button, moves, by, index = 0) {
  const [x, y] = await middle(page, index);
  await page.mouse.move(x, y);
  await page.mouse.down({ button });
  for (let move = 1; move <= moves; move += 1) await page.mouse.move(x + by[0] * move, y + by[1] * move);
  await page.mouse.up({ button });
}

export async function wheel(page, clicks, index = 0) {
  const [x, y] = await middle(page, index);
  await page.mouse.move(x, y);
  for (let click = 0; click < Math.abs(clicks); click += 1) {
    await page.mouse.wheel(0, 100 * Math.sign(clicks));
    await sleep(60);
  }
}

export async function press(page, key) {
  const [x, y] = await middle(page);
  await page.mouse.move(x, y);
  await page.keyboard.press(key);
}

/** What a button of the viewer does, after a key, as a person would have pressed something. */
export async function run(page, command, options = {}) {
  await page.keyboard.press('Shift');
  await page.evaluate(([name, given]) => window.commandsManager.run(name, given), [command, options]);
}

/** The panes' own ids differ; the place says which one is meant. */
export const idOf = (page, index) =>
  page.evaluate((number) => {
    const panes = [...window.services.viewportGridService.getState().viewports.values()];
    return panes.sort((one, other) => one.y - other.y || one.x - other.x)[number].viewportId;
  }, index);

export const measure = async (page, tool) => {
  await run(page, 'setToolActiveToolbar', { toolName: tool, toolGroupIds: ['default'] });
  await drag(page, 'left', 12, [6, -2]);
};

/** As the list of measurements does it. */
export const withMeasurements = (use) => async (page) => {
  await page.keyboard.press('Shift');
  await page.evaluate(use);
};

export const removeMeasurements = withMeasurements(() => {
  const { measurementService } = window.services;
  for (const { uid } of measurementService.getMeasurements()) measurementService.remove(uid);
});

/** Where one points in the patient, after a move of the mouse to another place of the first pane. */
export async function point(page) {
  const [x, y] = await middle(page);
  const place = [x + 50, y - 40];
  await page.mouse.move(x, y);
  await page.mouse.move(...place, { steps: 3 });
  return page.evaluate(
    ([viewportId, [clientX, clientY]]) => {
      const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(viewportId);
      const { left, top } = viewport.element.getBoundingClientRect();
      return Array.from(viewport.canvasToWorld([clientX - left, clientY - top]));
    },
    [await idOf(page, 0), place],
  );
}

/** The names of the others' pointers, and how far the nearest one is drawn from a place, in pixels of that window. */
export const arrows = async (page, world) =>
  page.evaluate(
    ([viewportId, place]) => {
      const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(viewportId);
      const { left, top } = viewport.element.getBoundingClientRect();
      const [wantedX, wantedY] = viewport.worldToCanvas(place);
      const drawn = [...document.getElementById('nun-db-pointers').shadowRoot.querySelectorAll('div')];
      const boxes = drawn.map((arrow) => arrow.getBoundingClientRect());
      return {
        names: drawn.map((arrow) => arrow.textContent),
        off: Math.min(...boxes.map((box) => Math.hypot(box.left - left - wantedX, box.top - top - wantedY))),
      };
    },
    [await idOf(page, 0), world],
  );

/** A part of the bar. */
export const bar = (page, selector) => page.locator('#nun-db-bar').locator(selector);

export const act = (page, action) => bar(page, `[data-action="${action}"]`).click();

export const status = (page) => bar(page, '.status').textContent();

/** Waits until the bar says something. */
export async function says(page, wanted) {
  for (const end = Date.now() + FOLLOW_MS_MAX; Date.now() < end; await sleep(50)) {
    if ((await status(page)).includes(wanted)) return true;
  }
  return false;
}

/** The names in the list of people, once there are so many, or at last. */
export async function people(page, count) {
  for (const end = Date.now() + 2 * FOLLOW_MS_MAX; ; await sleep(50)) {
    const names = await bar(page, 'li').allTextContents();
    if (names.length === count || Date.now() > end) return names;
  }
}
