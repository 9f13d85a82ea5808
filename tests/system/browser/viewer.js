// Several viewers of one study, each in a browser context of its own as if each were another person's machine: what one
// does with mouse and wheel is seen by the others. Reports what they showed; the test says what they should have.
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { ask, main, options, sleep, until } from '../javascript/harness.js';
import { bundle, withBrowser } from './browser.js';

const { artifacts, chromium, database, key, url } = options;
const folder = path.join(import.meta.dirname, 'pages');
const SIZE = { width: 480, height: 560 };
const [X, Y] = [240, 280]; // in the middle of the picture
const QUIET_MILLISECONDS = 300; // an echo on one machine takes a few
const DAY_MILLISECONDS = 86_400_000;

class Viewer {
  static async open(browser, address, name, user, token) {
    const context = await browser.newContext({ viewport: SIZE });
    const viewer = new Viewer();
    Object.assign(viewer, { name, context, errors: [], sent: [], page: await context.newPage() });
    const { page } = viewer;
    page.on('pageerror', (error) => viewer.errors.push(error.message));
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => viewer.sent.push(payload.split(' ', 2).join(' ')));
    });
    const nunDb = { url, db: database, user, token, key };
    await page.addInitScript((configuration) => (window.config = { nunDb: configuration }), nunDb);
    await page.goto(address);
    await page.waitForSelector('body.ready');
    // The client ignores events that bear a number it used itself, and numbers from when it was made on: people open
    // their viewers minutes apart, here it is seconds (../javascript/helpers.js).
    Viewer.opened = (Viewer.opened ?? 0) + 1;
    await page.evaluate((milliseconds) => (window.viewer.nunDb._start += milliseconds), Viewer.opened * DAY_MILLISECONDS);
    await viewer.settle();
    return viewer;
  }

  view = () => this.page.evaluate(() => window.viewer.view());
  pixels = () => this.page.evaluate(() => window.viewer.pixels());
  isConnected = () => this.page.evaluate(() => window.viewer.nunDb._connected);
  isReadOnly = () => this.page.evaluate(() => document.body.classList.contains('read-only'));
  refusals = () => this.page.evaluate(() => window.viewer.notes.filter(({ kind }) => kind === 'refused'));
  click = (selector) => this.page.click(selector);
  screenshot = (stage) => this.page.screenshot({ path: path.join(artifacts, `viewer-${stage}-${this.name}.png`) });

  /** Returns once all that was sent is answered. */
  settle = () => this.page.evaluate(() => window.viewer.nunDb.keys('nothing').then(() => undefined));

  async scroll(steps) {
    await this.page.mouse.move(X, Y);
    for (let step = 0; step < Math.abs(steps); step += 1) {
      const { index } = await this.view();
      await this.page.mouse.wheel(0, 100 * Math.sign(steps));
      await until(async () => (await this.view()).index === index + Math.sign(steps));
    }
  }

  async zoom(steps) {
    const { zoom } = await this.view();
    await this.page.mouse.move(X, Y);
    await this.page.keyboard.down('Control');
    for (let step = 0; step < Math.abs(steps); step += 1) await this.page.mouse.wheel(0, 100 * Math.sign(steps));
    await this.page.keyboard.up('Control');
    await until(async () => Math.abs((await this.view()).zoom - zoom * 1.1 ** -steps) < 1e-6);
  }

  async drag(x, y) {
    await this.page.mouse.move(X, Y);
    await this.page.mouse.down();
    await this.page.mouse.move(X + x, Y + y, { steps: 8 });
    await this.page.mouse.up();
  }

  /** How many milliseconds this page's clock is behind the machine's. */
  clockOffset = () =>
    this.page.evaluate(() => {
      const offsets = [];
      for (let number = 0; number < 21; number += 1) {
        // At the moment when the coarse clock of the machine ticks, both are read.
        const before = Date.now();
        let now = before;
        while (now === before) now = Date.now();
        offsets.push(now - (performance.timeOrigin + performance.now()));
      }
      return performance.timeOrigin + offsets.sort((left, right) => left - right)[10];
    });
}

/** Waits until viewers show the same: cameras, image, study, and the very pixels. Returns what it is. */
async function same(...viewers) {
  await until(async () => {
    const views = (await Promise.all(viewers.map((viewer) => viewer.view()))).map((view) => JSON.stringify(view));
    return new Set(views).size === 1;
  });
  await until(async () => new Set(await Promise.all(viewers.map((viewer) => viewer.pixels()))).size === 1);
  return viewers[0].view();
}

/** Runs something and returns how many changes each viewer sent meanwhile, and while nobody did anything after it. */
async function changesSent(viewers, run) {
  const before = viewers.map(({ sent }) => sent.length);
  await run();
  await sleep(QUIET_MILLISECONDS);
  return viewers.map(({ sent }, number) => sent.slice(before[number]).filter((text) => text.startsWith('set-safe')).length);
}

/** The milliseconds from each move of one viewer until another has heard of it, has its camera, has drawn the picture. */
async function latencies(leader, follower, moves, intervalMilliseconds) {
  for (const { page } of [leader, follower]) await page.evaluate(() => window.viewer.notes.splice(0));
  const [leaderOffset, followerOffset] = [await leader.clockOffset(), await follower.clockOffset()];
  await leader.page.evaluate((args) => window.viewer.move(...args), [moves, intervalMilliseconds]);
  const end = await leader.view();
  await until(async () => JSON.stringify((await follower.view()).camera) === JSON.stringify(end.camera));
  await sleep(QUIET_MILLISECONDS);
  const notes = (viewer) => viewer.page.evaluate(() => window.viewer.notes);
  const place = ({ value }) => JSON.stringify(value.focalPoint);
  const isCamera = (kind) => (note) => note.kind === kind && note.name === 'camera';
  const sent = (await notes(leader)).filter(isCamera('sent'));
  const seen = await notes(follower);
  const result = { sent: sent.length, received: [], applied: [], rendered: [] };
  for (const note of sent) {
    const milliseconds = (other) => other.time + followerOffset - (note.time + leaderOffset);
    for (const kind of ['received', 'applied']) {
      const other = seen.find((candidate) => isCamera(kind)(candidate) && place(candidate) === place(note));
      if (other) result[kind].push(milliseconds(other));
    }
    // The first picture that was drawn after it was applied.
    const index = seen.findIndex((candidate) => isCamera('applied')(candidate) && place(candidate) === place(note));
    const drawn = index < 0 ? undefined : seen.slice(index).find(({ kind }) => kind === 'rendered');
    if (drawn) result.rendered.push(milliseconds(drawn));
  }
  return result;
}

/** The milliseconds from a change in one browser until another hears of it, when nothing is drawn for it. */
async function messageLatencies(leader, follower, changes, intervalMilliseconds) {
  const [leaderOffset, followerOffset] = [await leader.clockOffset(), await follower.clockOffset()];
  const name = `${key}-message`;
  await follower.page.evaluate((watched) => {
    window.heard = {};
    const note = ({ value }) => (window.heard[value.number] = performance.now());
    return window.viewer.nunDb.watch(watched, note).then(() => undefined);
  }, name);
  await follower.settle();
  const sent = await leader.page.evaluate(
    async ([watched, times, interval]) => {
      const moments = [];
      for (let number = 0; number < times; number += 1) {
        moments.push(performance.now());
        window.viewer.nunDb.set(watched, { number, text: 'x'.repeat(350) }); // as long as a camera
        await new Promise((resolve) => setTimeout(resolve, interval));
      }
      return moments;
    },
    [name, changes, intervalMilliseconds],
  );
  await until(() => follower.page.evaluate((last) => last in window.heard, changes - 1));
  const heard = await follower.page.evaluate(() => window.heard);
  return Object.entries(heard).map(([number, time]) => time + followerOffset - (sent[number] + leaderOffset));
}

async function run(browser, origin) {
  const open = (name, user, token, address = origin) => Viewer.open(browser, address, name, user, token);
  const results = {};
  const left = await open('left', 'client', 'client-pwd');
  const right = await open('right', 'client', 'client-pwd');
  results.atFirst = await same(left, right);
  await Promise.all([left.screenshot('1-opened'), right.screenshot('1-opened')]);

  // One leads, the other follows, and says nothing itself; then the other way round.
  const both = [left, right];
  let seen;
  const leading = await changesSent(both, async () => {
    await left.scroll(4);
    await left.zoom(-3);
    await left.drag(40, -30);
    seen = await same(left, right);
  });
  results.leftLeads = { seen, sent: leading };
  await Promise.all([left.screenshot('2-left-leads'), right.screenshot('2-left-leads')]);
  const following = await changesSent(both, async () => {
    await right.scroll(-2);
    await right.zoom(1);
    await right.drag(-70, 10);
    seen = await same(left, right);
  });
  results.rightLeads = { seen, sent: following };
  results.idle = await changesSent(both, () => sleep(QUIET_MILLISECONDS));

  // Another study.
  await left.click('#other');
  results.otherStudy = await same(left, right);
  await left.scroll(2);
  results.inOtherStudy = await same(left, right);

  // Remote control off, and on again.
  await right.click('#remote');
  const before = await right.view();
  await left.drag(25, 25);
  await right.scroll(5);
  await Promise.all([left.settle(), right.settle()]);
  await sleep(QUIET_MILLISECONDS);
  const [leftAlone, rightAlone] = [await left.view(), await right.view()];
  await Promise.all([left.screenshot('3-remote-off'), right.screenshot('3-remote-off')]);
  await right.click('#remote');
  await left.drag(5, 5);
  results.remoteControl = { before, leftAlone, rightAlone, onAgain: await same(left, right) };

  // A third one joins late: it does not jump, nor do the others, until somebody moves.
  const late = await open('late', 'client', 'client-pwd', left.page.url());
  await sleep(QUIET_MILLISECONDS);
  const [lateAtFirst, othersAtFirst] = [await late.view(), await same(left, right)];
  await right.zoom(-1);
  results.late = { lateAtFirst, othersAtFirst, seen: await same(left, right, late) };
  await late.scroll(1);
  results.lateLeads = await same(left, right, late);
  await late.screenshot('4-late');

  // One who may only read follows, but does not lead.
  const student = await open('student', 'student', 'student-pwd', left.page.url());
  await left.drag(-15, 20);
  const followed = await same(left, right, late, student);
  await student.scroll(-3);
  await student.drag(60, 0);
  await until(student.isReadOnly);
  await student.settle();
  await sleep(QUIET_MILLISECONDS);
  const untouched = await same(left, right, late);
  const alone = await student.view();
  await student.screenshot('5-read-only');
  await left.scroll(1);
  const followedAgain = await same(left, right, late, student);
  const refusals = new Set((await student.refusals()).map(({ error }) => error));
  results.readOnly = { followed, untouched, alone, followedAgain, refusals: [...refusals] };

  results.errors = Object.fromEntries([left, right, late, student].map(({ name, errors }) => [name, errors]));
  await late.context.close();
  await student.context.close();
  const pace = [options.moves, options.intervalMilliseconds];
  results.latencies = await latencies(left, right, ...pace);
  results.latencies.message = await messageLatencies(left, right, ...pace);

  // The server goes away, and comes back.
  await ask('leave');
  await until(async () => !(await left.isConnected()) && !(await right.isConnected()));
  await left.drag(33, 0);
  const away = { left: await left.view(), right: await right.view() };
  await ask('return');
  await until(async () => (await left.isConnected()) && (await right.isConnected()));
  await Promise.all([left.settle(), right.settle()]);
  const pushed = await left.page.evaluate((name) => window.viewer.nunDb.get(name), `${key}-camera`);
  await right.scroll(-1);
  await right.drag(-20, -20);
  const backRight = await same(left, right);
  await left.zoom(2);
  const backLeft = await same(left, right);
  const readOnly = [await left.isReadOnly(), await right.isReadOnly()];
  results.restart = { away, pushed: pushed.value, backRight, backLeft, readOnly };
  await Promise.all([left.screenshot('6-after-restart'), right.screenshot('6-after-restart')]);
  return results;
}

main(async () => {
  await mkdir(artifacts, { recursive: true });
  const files = {
    '/': await readFile(path.join(folder, 'viewer.html'), 'utf8'),
    '/viewer.js': await bundle(path.join(folder, 'viewer.js')),
  };
  return withBrowser(chromium, files, run);
});
