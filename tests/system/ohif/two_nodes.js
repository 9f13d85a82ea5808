// Two people at different nodes of a cluster, while its owner is killed with changes under way.
import { withBrowser } from '../browser/browser.js';
import { ask, main, options } from '../javascript/harness.js';
import {
  act,
  arrows,
  drag,
  measure,
  now,
  open,
  people,
  point,
  removeMeasurements,
  sentAfter,
  shown,
  sleep,
  together,
  wheel,
} from './pages.js';

const WAIT_MS_MAX = 60_000;

/** Waits until something holds; its last value. */
async function until(find, isEnough) {
  for (const end = Date.now() + WAIT_MS_MAX; ; await sleep(50)) {
    const found = await find();
    if (isEnough(found) || Date.now() > end) return found;
  }
}

const sockets = (page) => page.evaluate(() => window.noted.sockets.size);

const hasSent = (page, command) =>
  until(
    () => page.evaluate((start) => window.noted.sent.some(({ text }) => text.includes(start)), command),
    (isSent) => isSent,
  );

main(() =>
  withBrowser(options.chromium, {}, async (browser) => {
    const [leftUrl, rightUrl] = options.urls.map((url) => url + options.paths[0]);
    const left = await open(browser, leftUrl, { width: 900, height: 640 }, 'left', { person: 'Ana' });
    await wheel(left, 3);
    await drag(left, 'right', 8, [0, 3]);
    const right = await open(browser, rightUrl, { width: 800, height: 560 }, 'right', { person: 'Ben' });
    const seen = { late: await together(left, right) };

    const camera = await left.evaluate(() => window.cornerstone.getEnabledElements()[0].viewport.getCamera());
    await ask('old', { camera });
    const isThere = ({ panes }) => panes[0].includes('scale 60.00') && panes[0].includes('slice 9');
    seen.old = await together(left, right, (one, other) => isThere(one) && isThere(other));
    const fromLeft = await now(left);
    await wheel(right, 1);
    seen.byRight = await together(right, left);
    seen.echoes = await sentAfter(left, fromLeft);
    await measure(left, 'Length');
    seen.measured = await together(left, right, (one, other) => other.annotations.length > 0);
    await ask('old heard');

    // All of what she does has left her browser when the owner is killed, and none of it is answered.
    const fromRight = await now(right);
    await ask('hang');
    await wheel(left, 2);
    await removeMeasurements(left);
    await act(left, 'raise');
    const world = await point(left);
    await hasSent(left, 'remove ');
    seen.wanted = await shown(left);
    await ask('kill');
    const killed = Date.now();
    seen.after = await together(left, right);
    const lastCamera = await right.evaluate(() => window.noted.cameras.at(-1)[0]);
    seen.pauseMs = Math.round(lastCamera - killed);
    seen.hand = await until(
      () => people(right, 2),
      (names) => names.join().includes('hand raised'),
    );
    seen.pointer = await until(
      () => arrows(right, world),
      ({ off }) => off < 2,
    );
    seen.echoes.push(...(await sentAfter(right, fromRight)));

    const from = [await now(left), await now(right)];
    await wheel(right, 1);
    seen.goesOn = await together(right, left);
    await ask('old again');
    await sleep(1000);
    seen.echoes.push(...(await sentAfter(left, from[0])));
    seen.people = [await people(left, 2), await people(right, 2)];
    seen.sockets = await Promise.all([left, right].map(sockets));

    // The node of one of them sleeps for so long that its clients have left; he has done nothing when it wakes.
    const { asleep } = await ask('sleep');
    const awake = [left, right][1 - asleep];
    seen.alone = await people(awake, 1);
    await ask('wake');
    seen.back = await people(awake, 2);
    seen.complaints = [...left.complaints, ...right.complaints];
    return seen;
  }),
);
