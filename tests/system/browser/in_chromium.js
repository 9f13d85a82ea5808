// Runs a script of ../javascript in a page of Chromium instead of in Node.js: the same script, the same client, the
// browser's own WebSocket and storage. What the page reports goes to the test, what the test orders goes to the page.
import path from 'node:path';
import { ask, exit, options, report } from '../javascript/harness.js';
import { bundle, withBrowser } from './browser.js';

const folder = import.meta.dirname;

const pageHarness = {
  name: 'page-harness',
  setup: (build) =>
    build.onResolve({ filter: /^\.\/harness\.js$/ }, () => ({ path: path.join(folder, 'pages', 'harness.js') })),
};

const { chromium, script, ...pageOptions } = options;
const code = await bundle(path.join(folder, '..', 'javascript', script), [pageHarness]);
const html = '<!doctype html><title>Nun-db</title><script type="module" src="/script.js"></script>';

const failed = await withBrowser(chromium, { '/': html, '/script.js': code }, async (browser, origin) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on('console', (message) => console.error(message.text()));
  const ended = new Promise((resolve) => {
    page.on('pageerror', (error) => resolve(['failed', { error: String(error.stack ?? error) }]));
    page.exposeFunction('testReport', (event, details) => resolve([event, details]));
  });
  await page.exposeFunction('testOptions', () => pageOptions);
  await page.exposeFunction('testAsk', ask);
  await page.goto(origin);
  const [event, details] = await ended;
  report(event, details);
  return event !== 'done';
});
exit(failed ? 1 : 0);
