// Two pages of an application made with `nun-db-react`.
import path from 'node:path';
import { ask, main, options, until } from '../javascript/harness.js';
import { bundle, withBrowser } from './browser.js';

const HTML = `<!doctype html><title>Application</title><link rel="icon" href="data:," />
<div id="root"></div><button data-feature="export">Export</button>
<script type="module" src="/features.js"></script>`;

async function run(browser, origin) {
  const { chromium, ...pageOptions } = options;
  const errors = [];
  async function open(number) {
    const page = await (await browser.newContext()).newPage();
    page.on('pageerror', (error) => errors.push(error.message));
    await page.exposeFunction('testOptions', () => pageOptions);
    await page.goto(origin);
    await page.waitForFunction(() => window.application && document.querySelector('#report'));
    // Made at different times, as pages of different people are (../javascript/helpers.js).
    await page.evaluate((shift) => (window.application.nunDb._start += shift), number * 86_400_000);
    await page.evaluate(() => window.application.nunDb.keys('nothing').then(() => undefined));
    return page;
  }
  const report = (page) => page.textContent('#report');
  const isShown = (page) => page.evaluate(() => document.querySelector('[data-feature]').style.display !== 'none');
  const notes = (page) => page.evaluate(() => window.application.store.getState().notes);
  const add = (page, note) => page.evaluate((text) => window.application.store.dispatch({ type: 'add', note: text }), note);
  const flags = async (...pages) => Promise.all(pages.map(async (page) => [await report(page), await isShown(page)]));

  const [left, right] = [await open(1), await open(2)];
  const areOff = async () => (await flags(left, right)).every(([text, shown]) => text.includes('yet') && !shown);
  await until(areOff);
  const results = { atFirst: await flags(left, right) };
  await ask('enable');
  await until(async () => (await flags(left, right)).every(([text, shown]) => text.includes('is here') && shown));
  results.enabled = await flags(left, right);
  await ask('disable');
  await until(areOff);
  results.disabled = await flags(left, right);

  await add(left, 'a note of the left');
  await until(async () => (await notes(right)).length === 1);
  await add(right, 'and one of the right');
  await until(async () => (await notes(left)).length === 2);
  results.notes = [await notes(left), await notes(right)];
  // Who comes later starts with the last state.
  const late = await open(3);
  await until(async () => (await notes(late)).length === 2);
  results.late = await notes(late);
  return { ...results, errors };
}

const code = await bundle(path.join(import.meta.dirname, 'pages', 'features.jsx'));
main(() => withBrowser(options.chromium, { '/': HTML, '/features.js': code }, run));
