// The extension in a page that was loaded over https and is isolated from other origins, as some viewers are.
import fs from 'node:fs';
import https from 'node:https';
import { withBrowser } from '../browser/browser.js';
import { main, options } from '../javascript/harness.js';

const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
};

async function serve() {
  const identity = { cert: fs.readFileSync(options.certificate), key: fs.readFileSync(options.key) };
  const server = https.createServer(identity, (_, response) => {
    response.writeHead(200, HEADERS);
    response.end('<!doctype html><title>Viewer</title>');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** What a page sees of the server. */
async function look([server, login]) {
  const { default: extension } = await import(`https://${server}/ohif/sync.js`);
  const { Connection } = await import(`https://${server}/ohif/connection.js`);
  const nothing = () => {};
  const connect = (url) =>
    new Promise((resolve) => {
      const connection = new Connection(url, login, {
        onState: (state, detail) => {
          if (state === 'connecting') return;
          setTimeout(() => connection.stop());
          resolve([state, detail]);
        },
        onOpen: nothing,
        isFrameDue: () => false,
      });
      connection.start();
    });
  return {
    isIsolated: window.crossOriginIsolated,
    id: extension.id,
    // Without CORS, as a script element asks: only Cross-Origin-Resource-Policy lets it in.
    embedded: await fetch(`https://${server}/ohif/sync.js`, { mode: 'no-cors' }).then(({ type }) => type),
    secure: await connect(`wss://${server}`),
    mixed: await connect('ws://nun-db.example.org:3012'),
  };
}

main(() =>
  withBrowser(options.chromium, {}, async (browser) => {
    const site = await serve();
    try {
      const context = await browser.newContext({ ignoreHTTPSErrors: true }); // nobody trusts the tests' certificates
      const page = await context.newPage();
      await page.goto(`https://127.0.0.1:${site.address().port}/`);
      return await page.evaluate(look, [options.server, options.login]);
    } finally {
      site.closeAllConnections();
      site.close();
    }
  }),
);
