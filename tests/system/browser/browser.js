// A real Chromium with pages of our own: bundled from npm packages, served from this machine, seen by nobody else.
import http from 'node:http';
import * as esbuild from 'esbuild';
import { chromium } from 'playwright-core';

const HEADERS = {
  // Isolated from every other origin, a page gets a clock of 5 instead of 100 microseconds.
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cache-control': 'no-store',
};

/** Bundles a script with the npm packages that it imports, as one for a page; `plugins` are esbuild's. */
export async function bundle(entry, plugins = []) {
  const { outputFiles } = await esbuild.build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm', // a script may await at its top
    target: 'chrome120',
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'error',
    plugins,
  });
  return outputFiles[0].text;
}

/** Serves texts by their path ({'/': html, …}) on a free port of this machine; returns the origin and how to end it. */
async function serve(files) {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const text = files[pathname];
    const type = pathname.endsWith('.js') ? 'text/javascript' : 'text/html';
    response.writeHead(text === undefined ? 404 : 200, { ...HEADERS, 'content-type': `${type}; charset=utf-8` });
    response.end(text);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/**
 * Runs `use(browser, origin)` with the browser that listens on an endpoint, and with pages to look at. Whatever `use`
 * opened in the browser is closed at the end; the browser goes on.
 */
export async function withBrowser(endpoint, files, use) {
  const pages = await serve(files);
  const browser = await chromium.connectOverCDP(endpoint);
  try {
    return await use(browser, pages.origin);
  } finally {
    await Promise.all(browser.contexts().map((context) => context.close().catch(() => {})));
    await browser.close();
    pages.close();
  }
}
