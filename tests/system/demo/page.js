// The page of the demo in real browsers: one scenario a run, as the test asks. Every scenario fails if a page complains
// in its console, and returns what the test then judges.
import { withBrowser } from '../browser/browser.js';
import decodeQR from 'qr/decode.js';
import { ask, main, options } from '../javascript/harness.js';

const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 360, height: 640 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const FOLLOW_MS_MAX = 20_000; // a page that follows needs far less; one that does not is not worth the hurry
const MOVES = 40;
const VIEW_TEXTS = ['position-text', 'zoom-text', 'slice-text', 'window-text'];

/** A page of its own browser context (another person), ready to be used; notes its complaints and what it sends. */
async function open(browser, settings = DESKTOP, atStart = null) {
  const context = await browser.newContext(settings);
  const page = await context.newPage();
  if (atStart) await page.addInitScript(atStart);
  page.complaints = [];
  page.sent = [];
  page.on('console', (message) => page.complaints.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => page.complaints.push(String(error.stack ?? error)));
  page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => page.sent.push(payload)));
  await page.goto(options.url);
  await page.waitForSelector('#state[data-state="connected"]');
  await page.waitForSelector('#loading', { state: 'hidden' });
  return page;
}

const text = (page, id) => page.locator(`#${id}`).textContent();

/** What a page shows of the view, as one text; waits until it has not changed for some frames. */
const view = (page) =>
  page.evaluate(async (ids) => {
    const read = () => ids.map((id) => document.getElementById(id).textContent).join(' | ');
    let shown = read();
    for (let still = 0, since = performance.now(); still < 8 || performance.now() - since < 150; still += 1) {
      await new Promise((resolve) => requestAnimationFrame(resolve));
      if (read() === shown) continue;
      shown = read();
      still = 0;
      since = performance.now();
    }
    return shown;
  }, VIEW_TEXTS);

/** What a page shows of the view once it shows what is wanted; what it shows instead, if it does not come to that. */
async function viewLike(page, wanted) {
  const isThere = ([ids, text]) => ids.map((id) => document.getElementById(id).textContent).join(' | ') === text;
  await page.waitForFunction(isThere, [VIEW_TEXTS, wanted], { timeout: FOLLOW_MS_MAX, polling: 20 }).catch(() => {});
  return view(page);
}

/** Waits until a page shows something; `limit` milliseconds at most. */
async function shows(page, id, wanted, limit = FOLLOW_MS_MAX) {
  await page.waitForFunction(([name, value]) => document.getElementById(name).textContent === value, [id, wanted], {
    timeout: limit,
    polling: 20,
  });
}

/** Where a pointer's tip is, seen from the middle of the picture, once it is near a place; else where it is at last. */
async function tipNear(page, pointer, x, y) {
  for (const until = Date.now() + FOLLOW_MS_MAX; ; await page.waitForTimeout(20)) {
    const tip = await pointer.evaluate((element) => element.getBoundingClientRect().toJSON());
    const centre = await middle(page);
    const offset = { x: tip.x - centre.x, y: tip.y - centre.y };
    if (Math.hypot(offset.x - x, offset.y - y) < 1 || Date.now() > until) return offset;
  }
}

/** Waits until a page shows a slice, counted from 1: a page shows what it was told with its next frame, not before. */
async function showsSlice(page, number, limit = FOLLOW_MS_MAX) {
  await page.waitForFunction((wanted) => document.getElementById('slice-text').textContent.startsWith(wanted), `Slice ${number}/`, {
    timeout: limit,
    polling: 20,
  });
}

const nameOf = (page) => page.locator('#name').inputValue();

async function rename(page, name) {
  await page.fill('#name', name);
  await page.locator('#name').blur();
}

const others = (page) => page.locator('#people .name').allTextContents();

async function seesOthers(page, names, limit = FOLLOW_MS_MAX) {
  await page.waitForFunction(
    (wanted) => JSON.stringify([...document.querySelectorAll('#people .name')].map((one) => one.textContent).sort()) === wanted,
    JSON.stringify([...names].sort()),
    { timeout: limit, polling: 20 },
  );
}

async function middle(page) {
  const box = await page.locator('#stage').boundingBox();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

const viewsSent = (page) => page.sent.filter((payload) => payload.includes('set-safe demo-view '));

function quiet(...pages) {
  const complaints = pages.flatMap((page) => page.complaints);
  if (complaints.length) throw new Error(`the pages complain: ${complaints.join('\n')}`);
}

const scenarios = {
  /** Every way to move the picture in one window is followed by the other, both ways, and nothing echoes. */
  async following(browser) {
    const first = await open(browser);
    const second = await open(browser);
    const steps = [];
    for (const [one, other] of [[first, second], [second, first]]) {
      const { x, y } = await middle(one);
      const actions = {
        drag: async () => {
          await one.mouse.move(x, y);
          await one.mouse.down();
          await one.mouse.move(x + 90, y - 60, { steps: 12 });
          await one.mouse.up();
        },
        'wheel with Ctrl': async () => {
          await one.keyboard.down('Control');
          await one.mouse.wheel(0, -120);
          await one.keyboard.up('Control');
        },
        wheel: () => one.mouse.wheel(0, 100),
        'right drag': async () => {
          await one.mouse.move(x, y);
          await one.mouse.down({ button: 'right' });
          await one.mouse.move(x + 40, y + 40, { steps: 8 });
          await one.mouse.up({ button: 'right' });
        },
        keys: async () => {
          await one.locator('#stage').focus();
          for (const key of ['ArrowLeft', 'ArrowUp', '+', 'PageUp', 'PageUp', '4']) await one.keyboard.press(key);
        },
        slider: () => one.locator('#slice').fill('3'),
        preset: () => one.locator('#preset').selectOption({ label: 'Subdural' }),
        buttons: async () => {
          await one.locator('#zoom-in').click();
          await one.locator('#slice-on').click();
        },
        fit: () => one.locator('#fit').click(),
      };
      for (const [name, act] of Object.entries(actions)) {
        const before = await view(other);
        other.sent.length = 0;
        await act();
        const began = Date.now();
        await other.waitForFunction(
          ([ids, old]) => ids.map((id) => document.getElementById(id).textContent).join(' | ') !== old,
          [VIEW_TEXTS, before],
          { timeout: FOLLOW_MS_MAX, polling: 10 },
        );
        const waited = Date.now() - began;
        const here = await view(one);
        steps.push({ name, waited, here, there: await viewLike(other, here), echoes: viewsSent(other).length });
      }
    }
    quiet(first, second);
    return { steps };
  },

  /** A stream of moves: how many messages leave, and how long until the other window shows each. */
  async measuring(browser) {
    const first = await open(browser);
    const second = await open(browser);
    for (const page of [first, second]) {
      await page.evaluate(() => {
        window.seen = {};
        const slice = document.getElementById('slice-text');
        new MutationObserver(() => {
          window.seen[slice.textContent] = performance.timeOrigin + performance.now();
        }).observe(slice, { childList: true, characterData: true, subtree: true });
        window.frames = 0;
        const count = () => {
          window.frames += 1;
          requestAnimationFrame(count);
        };
        requestAnimationFrame(count);
      });
    }
    const latencies = [];
    for (let move = 0; move < MOVES; move += 1) {
      const slice = 2 + (move % 20);
      const began = await first.evaluate((value) => {
        window.seen = {};
        const slider = document.getElementById('slice');
        slider.value = String(value);
        slider.dispatchEvent(new Event('input'));
        return performance.timeOrigin + performance.now();
      }, slice);
      await second.waitForFunction((value) => document.getElementById('slice-text').textContent.startsWith(`Slice ${value}/`), slice);
      latencies.push((await second.evaluate((value) => Object.entries(window.seen).find(([key]) => key.startsWith(`Slice ${value}/`))?.[1], slice)) - began);
    }
    const { x, y } = await middle(first);
    await first.mouse.move(x, y);
    first.sent.length = 0;
    await first.evaluate(() => {
      window.frames = 0;
    });
    await first.mouse.down();
    for (let step = 0; step < 60; step += 1) await first.mouse.move(x + step, y - step / 2);
    await first.mouse.up();
    const here = await view(first);
    const frames = await first.evaluate(() => window.frames);
    latencies.sort((a, b) => a - b);
    quiet(first, second);
    return {
      here,
      there: await viewLike(second, here),
      frames,
      messages: first.sent.length,
      viewsMax: Math.max(...first.sent.map((payload) => payload.split('set-safe demo-view ').length - 1)),
      latency: { p50: latencies[Math.floor(MOVES / 2)], p95: latencies[Math.floor(MOVES * 0.95)] },
      roundTrip: { p50: await text(first, 'trip-median'), last: await text(first, 'trip-last') },
    };
  },

  /** While a hand holds the picture, others don't move it; when it lets go, all are alike again. */
  async dragging(browser) {
    const first = await open(browser);
    const second = await open(browser);
    const { x, y } = await middle(second);
    await second.mouse.move(x, y);
    await second.mouse.down();
    await second.mouse.move(x + 50, y, { steps: 5 });
    const held = await view(second);
    await first.locator('#slice').fill('20');
    await showsSlice(first, 20);
    await first.waitForTimeout(400);
    const stillHeld = await view(second);
    await second.mouse.up();
    await showsSlice(second, 20);
    quiet(first, second);
    const here = await view(first);
    return { held, stillHeld, here, there: await viewLike(second, here) };
  },

  /** Names, pointers, renaming, joining late, leaving with and without a goodbye. */
  async people(browser) {
    const alike = () => {
      Math.random = () => 0.5; // all take the same colour at first
    };
    const first = await open(browser, DESKTOP, alike);
    const second = await open(browser, DESKTOP, alike);
    await rename(first, 'Ana');
    await rename(second, 'Ben; Bè\u202e^ "x"');
    await seesOthers(second, ['Ana']);
    await seesOthers(first, ['Ben; Bè ^ "x"']);
    const { x, y } = await middle(second);
    await second.mouse.move(x + 60, y + 30, { steps: 4 });
    const pointer = first.locator('.pointer');
    await pointer.locator('span').waitFor({ timeout: FOLLOW_MS_MAX });
    const offset = await tipNear(first, pointer, 60, 30); // it glides there
    const label = await pointer.locator('span').textContent();
    await second.mouse.move(5, 5); // out of the picture
    await pointer.waitFor({ state: 'detached', timeout: FOLLOW_MS_MAX });

    await first.locator('#slice').fill('7');
    await first.locator('#zoom-in').click();
    await showsSlice(first, 7);
    const here = await view(first);
    const late = await open(browser, DESKTOP, alike);
    await shows(late, 'slice-text', await text(first, 'slice-text'));
    await seesOthers(late, ['Ana', 'Ben; Bè ^ "x"']);
    await shows(first, 'connections', '3 sessions');
    // Of two with one colour, one takes another a moment later.
    await first.waitForFunction(
      () => new Set([...document.querySelectorAll('#people .dot')].map((dot) => getComputedStyle(dot).backgroundColor)).size === 3,
      null,
      { timeout: FOLLOW_MS_MAX, polling: 20 },
    ).catch(() => {});
    const lateName = await nameOf(late); // which follows its colour
    await seesOthers(first, ['Ben; Bè ^ "x"', lateName]);
    const colours = await first.locator('#people .dot').evaluateAll((dots) => dots.map((dot) => getComputedStyle(dot).backgroundColor));
    const there = await viewLike(late, here);

    quiet(first, second, late);
    await second.goto('about:blank');
    await seesOthers(first, [lateName]);
    // The tab dies without a word, just after it was heard; its connection ends.
    const session = await late.context().newCDPSession(late);
    await rename(late, 'Cleo');
    await seesOthers(first, ['Cleo']);
    session.send('Page.crash').catch(() => {});
    await shows(first, 'connections', '1 session');
    const began = Date.now();
    await seesOthers(first, []);
    const died = Date.now() - began;
    quiet(first);
    return { label, offset, here, there, colours, died };
  },

  /** Somebody who writes to the keys by other means, and then says nothing more but stays connected. */
  async hostile(browser) {
    const page = await open(browser);
    const before = await view(page);
    await page.evaluate(() => {
      window.a = () => {
        window.isInjected = true;
      };
    });
    await ask('hostile');
    await page.locator('#people .name').first().waitFor({ timeout: FOLLOW_MS_MAX });
    const names = await others(page);
    const label = await page.locator('.pointer span').textContent();
    const injected = await page.locator('#people img, #people script, .pointer img, .pointer script, .leader img').count();
    const after = await view(page);
    await seesOthers(page, []);
    const isRun = await page.evaluate(() => 'isInjected' in window);
    const pointers = await page.locator('.pointer').count();
    quiet(page);
    return { before, after, names, label, injected, isRun, pointers };
  },

  /** The server is killed and started again: with its data, then without. */
  async restarting(browser) {
    const first = await open(browser);
    const second = await open(browser);
    await first.locator('#slice').fill('5');
    await showsSlice(second, 5);
    const results = [];
    for (const [order, slice] of [['restart', 9], ['restart empty', 14]]) {
      await ask(order, { phase: 'kill' });
      await first.waitForSelector('#state[data-state="lost"]', { timeout: FOLLOW_MS_MAX });
      const lost = await text(first, 'state');
      await first.locator('#slice').fill(String(slice)); // moved while there is no server
      await ask(order, { phase: 'start' });
      await first.waitForSelector('#state[data-state="connected"]', { timeout: FOLLOW_MS_MAX });
      await second.waitForSelector('#state[data-state="connected"]', { timeout: FOLLOW_MS_MAX });
      await showsSlice(second, slice);
      await second.locator('#slice-on').click();
      await showsSlice(first, slice + 1);
      await seesOthers(first, [await nameOf(second)]);
      const here = await view(first);
      results.push({ lost, here, there: await viewLike(second, here) });
    }
    // The browser itself notes requests, and WebSockets, that found no server or one that was just ending.
    for (const page of [first, second]) page.complaints = page.complaints.filter((one) => !/net::ERR_|WebSocket connection to \S+ failed/.test(one));
    quiet(first, second);
    return { results };
  },

  /** The invitation: the QR code of the chosen address as a camera sees it, and what the button copies. */
  async inviting(browser) {
    const addresses = ['http://192.0.2.7:3015/', 'http://198.51.100.250:30150/'];
    const context = await browser.newContext(DESKTOP);
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await context.route('**/config.json', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: { ...(await response.json()), others: addresses } });
    });
    const read = await context.newPage();
    await read.goto(`${options.url}uqr.LICENSE`); // any page of this machine may read the clipboard
    const results = [];
    for (const hasClipboard of [true, false]) {
      const page = await context.newPage();
      if (!hasClipboard) await page.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
      await page.goto(options.url);
      for (const address of hasClipboard ? addresses : addresses.slice(1)) {
        await page.getByRole('button', { name: address }).click();
        const code = (await page.locator('#code').screenshot()).toString('base64');
        const pixels = await read.evaluate(async (png) => {
          const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
          const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
          const drawing = new OffscreenCanvas(image.width, image.height).getContext('2d');
          drawing.drawImage(image, 0, 0);
          return { width: image.width, height: image.height, data: [...drawing.getImageData(0, 0, image.width, image.height).data] };
        }, code);
        await page.locator('#copy').click();
        await shows(page, 'copy', 'Copied');
        await read.bringToFront();
        let copied = '';
        for (const until = Date.now() + FOLLOW_MS_MAX; copied !== address && Date.now() < until; ) {
          copied = await read.evaluate(() => navigator.clipboard.readText()); // "Copied" may be of the address before
        }
        await page.bringToFront();
        results.push({ address, scanned: decodeQR({ ...pixels, data: Uint8Array.from(pixels.data) }), copied });
      }
    }
    return { results };
  },

  /** What stands on the page: names like their dots, the round trip after enough of them, and all of it in every size. */
  async looking(browser) {
    const blue = () => sessionStorage.setItem('pynun-demo-name', 'Blue Owl');
    const first = await open(browser, DESKTOP, blue);
    const header = await first.locator('header').innerText();
    const second = await open(browser, DESKTOP, blue);
    const waiting = { text: await text(second, 'trip-waiting'), isShown: await second.locator('#trip-figures').isVisible() };
    for (let click = 0; !(await second.locator('#trip-figures').isVisible()); click += 1) {
      await second.locator(click % 2 ? '#slice-on' : '#slice-back').click();
    }
    const trips = Number(await text(second, 'trip-count'));
    await first.waitForFunction(
      () => new Set([document.getElementById('name').value, ...[...document.querySelectorAll('#people .name')].map((one) => one.textContent)]).size === 2,
      null,
      { timeout: FOLLOW_MS_MAX },
    );
    const people = await first.evaluate(() =>
      [...document.querySelectorAll('#people li')].map((item) => ({
        name: item.querySelector('.name, input').value ?? item.querySelector('.name').textContent,
        colour: getComputedStyle(item.querySelector('.dot')).backgroundColor,
      })),
    );
    const sizes = [];
    for (const [width, height] of [[320, 568], [390, 844], [768, 1024], [1280, 800]]) {
      await first.setViewportSize({ width, height });
      await view(first);
      sizes.push(
        await first.evaluate(() => {
          const box = (id) => document.querySelector(id).getBoundingClientRect().toJSON();
          const shown = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && !one.closest('.hidden, .pointers, svg, option'));
          return {
            width: innerWidth,
            height: innerHeight,
            outside: shown.filter((one) => one.getBoundingClientRect().right > innerWidth || one.getBoundingClientRect().left < 0).map((one) => one.outerHTML),
            cut: shown.filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1).map((one) => one.outerHTML),
            stage: box('#stage'),
            side: box('.side'),
            last: box('.side section:last-child'),
          };
        }),
      );
    }
    quiet(first, second);
    return { header, waiting, trips, people, sizes };
  },

  /** Fingers on a small screen: everything is within reach, one finger moves, two enlarge. */
  async phone(browser) {
    const desktop = await open(browser);
    const phone = await open(browser, PHONE);
    const layout = await phone.evaluate(() => {
      const sizes = [...document.querySelectorAll('button, select, input')]
        .filter((element) => element.checkVisibility())
        .map((element) => {
          const { left, right, top, bottom } = element.getBoundingClientRect();
          return { id: element.id, left, right, top, bottom };
        });
      return {
        sizes,
        width: innerWidth,
        height: innerHeight,
        scrollWidth: document.documentElement.scrollWidth,
        stage: document.getElementById('stage').getBoundingClientRect().toJSON(),
      };
    });
    const { x, y } = await middle(phone);
    const session = await phone.context().newCDPSession(phone);
    const touch = (type, ...points) =>
      session.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(([px, py], id) => ({ x: px, y: py, id })) });
    const tap = async (id) => {
      await phone.waitForTimeout(500); // Chromium makes no click of a tap right after fingers that moved
      await phone.locator(id).tap();
    };
    const start = await view(desktop);
    await touch('touchStart', [x, y]);
    for (let step = 1; step <= 8; step += 1) await touch('touchMove', [x + 5 * step, y + 3 * step]);
    await desktop.locator('.pointer.is-down').waitFor({ state: 'attached', timeout: FOLLOW_MS_MAX });
    const touching = await desktop.locator('.pointer.is-down').count();
    await touch('touchEnd');
    const moved = await view(phone);
    const movedThere = await viewLike(desktop, moved);
    await desktop.locator('.pointer').waitFor({ state: 'detached', timeout: FOLLOW_MS_MAX });
    await touch('touchStart', [x - 30, y], [x + 30, y]);
    for (let step = 1; step <= 8; step += 1) await touch('touchMove', [x - 30 - 5 * step, y], [x + 30 + 5 * step, y]);
    await touch('touchEnd');
    const pinched = await view(phone);
    const pinchedThere = await viewLike(desktop, pinched);
    await tap('#tool-window');
    await touch('touchStart', [x, y]);
    for (let step = 1; step <= 8; step += 1) await touch('touchMove', [x + 5 * step, y]);
    await touch('touchEnd');
    await tap('#slice-on');
    await showsSlice(phone, 13);
    const last = await view(phone);
    quiet(desktop, phone);
    return { layout, touching, start, moved, movedThere, pinched, pinchedThere, last, lastThere: await viewLike(desktop, last) };
  },
};

main(() => withBrowser(options.chromium, {}, scenarios[options.scenario]));
