// The console in a real browser: one scenario a run, as the test asks. Every scenario fails if a page complains in its
// console, which it does about each break of the policy for scripts and styles.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { bundle, withBrowser } from '../browser/browser.js';
import { ask, main, options } from '../javascript/harness.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const DESKTOP = { width: 1280, height: 800 };
const SIZES = { phone: { width: 360, height: 740 }, desktop: DESKTOP, wall: { width: 3840, height: 2160 } };
const SCREENS = ['overview', 'databases', 'keys', 'watch', 'users', 'sessions', 'rooms', 'conflicts', 'backups', 'audit', 'settings'];
const WAIT_MS = 20_000;

let violations = [];

/** A page of its own context, at the login; notes what it complains about. */
async function open(browser, settings = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, locale: 'en-GB', acceptDownloads: true, ...settings });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.complaints = [];
  page.on('console', (message) => {
    // A browser reports each refused request itself: a wrong password is one, and the end of a login.
    if (message.type() === 'verbose') return; // advice, such as a name beside each password
    if (!/the server responded with a status of 401|WebSocket connection to/.test(message.text())) {
      page.complaints.push(`${message.type()}: ${message.text()}`);
    }
  });
  page.on('pageerror', (error) => page.complaints.push(String(error.stack ?? error)));
  page.on('dialog', (dialog) => {
    page.complaints.push(`a dialog of the browser: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(options.url);
  await page.waitForSelector('#login-user');
  return page;
}

/** Watches the tasks of a page's main thread; resolves to what tells the processor time of the longest one, in ms. */
async function tracing(browser, page) {
  const session = await browser.newBrowserCDPSession();
  const events = [];
  session.on('Tracing.dataCollected', ({ value }) => events.push(...value));
  await session.send('Tracing.start', { traceConfig: { includedCategories: ['toplevel', '__metadata', 'blink.user_timing'] } });
  await page.evaluate(() => performance.mark('the page that is watched'));
  return async () => {
    const isComplete = new Promise((resolve) => session.once('Tracing.tracingComplete', resolve));
    await session.send('Tracing.end');
    await isComplete;
    const { pid, tid } = events.find(({ name }) => name === 'the page that is watched');
    return Math.max(...events.filter((one) => one.pid === pid && one.tid === tid && one.tdur).map(({ tdur }) => tdur / 1000));
  };
}

async function logIn(page, user = options.user, password = options.password) {
  await page.fill('#login-user', user);
  await page.fill('#login-secret', password);
  await page.click('button.primary');
  await page.waitForSelector('.connection.good');
}

async function logInAs(page, database, user, token) {
  await page.getByRole('button', { name: 'Database user' }).click();
  await page.fill('#login-database', database);
  await logIn(page, user, token);
}

async function go(page, screen, heading) {
  await page.evaluate((hash) => {
    location.hash = hash;
  }, screen);
  if (heading) await page.getByRole('heading', { level: 1, name: heading }).waitFor();
  else await page.waitForSelector(`.screen-${screen.split('/')[0]}`);
}

const dialog = (page) => page.locator('dialog[open]');

/** Fills the dialog that is open, and submits it. */
async function submit(page, values = {}) {
  for (const [name, value] of Object.entries(values)) {
    const field = dialog(page).locator(`#field-${name}`);
    if ((await field.evaluate((element) => element.tagName)) === 'SELECT') await field.selectOption(value);
    else await field.fill(value);
  }
  await dialog(page).locator('button[type=submit]').click();
  await dialog(page).waitFor({ state: 'detached' });
}

/** Looks for what people who don't see or click can't use (axe-core: WCAG 2.2 AA and best practices). */
async function checkAccess(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  violations.push(
    ...found.violations.map(({ id, nodes }) => `${where}: ${id}: ${nodes.map(({ target }) => target.join(' ')).slice(0, 3).join(', ')}`),
  );
}

const row = (page, text) => page.locator('tr', { hasText: text });
const seen = (page, text) => page.getByText(text, { exact: true }).first().waitFor();

// --- scenarios -----------------------------------------------------------------------------------------------------

const scenarios = {
  /** Every screen and every write of an administrator. */
  async everything(browser) {
    const page = await open(browser);
    await checkAccess(page, 'login');
    await page.fill('#login-user', options.user);
    await page.fill('#login-secret', 'wrong');
    await page.click('button.primary');
    await seen(page, 'Wrong name or password.');
    await ask('guess');
    await logIn(page);
    await page.locator('.health.warn').waitFor();
    const warnings = await page.locator('.warnings').textContent();
    await page.locator('.uplot canvas').first().waitFor();

    await go(page, 'databases', 'Databases');
    await page.getByRole('button', { name: 'New database' }).click();
    await checkAccess(page, 'dialog');
    await page.keyboard.press('Escape');
    const back = await page.evaluate(() => document.activeElement.textContent.trim());
    if (back !== 'New database') throw new Error(`the focus is at ${back}`);
    await page.keyboard.press('Enter');
    await submit(page, { name: 'plan', token: 'plan-token', strategy: 'arbiter' });
    await row(page, 'plan').waitFor();
    await page.getByRole('button', { name: 'Copy plan' }).click();
    await submit(page, { name: 'spare' });
    await page.getByRole('button', { name: 'Rename spare' }).click();
    await submit(page, { name: 'second' });
    await page.getByRole('button', { name: 'Drop second' }).click();
    await dialog(page).locator('#field-name').fill('secon');
    const isHeld = await dialog(page).locator('button[type=submit]').isDisabled();
    await submit(page, { name: 'second' });
    await row(page, 'second').waitFor({ state: 'detached' });

    await go(page, 'keys/plan', 'Keys');
    await page.getByRole('button', { name: 'New key' }).click();
    await submit(page, { key: 'room-1-state', value: '{"zoom": 1,\n "big": 12345678901234567890}' });
    await page.locator('.value-text', { hasText: '"zoom": 1' }).waitFor();
    const pretty = await page.locator('.value-text').textContent();
    await page.getByRole('button', { name: 'Edit' }).click();
    await checkAccess(page, 'keys, editing');
    await page.fill('#value-editor', '{\n  "zoom": 2,\n  "list": "a;b"\n}');
    await page.getByRole('button', { name: 'Save as version 1' }).click();
    await page.locator('.badge', { hasText: 'v1' }).first().waitFor();
    await page.getByRole('button', { name: 'Edit' }).click();
    await ask('change', { key: 'room-1-state' });
    await page.getByRole('alert').filter({ hasText: 'has changed meanwhile' }).waitFor();
    await page.fill('#value-editor', 'mine');
    await page.getByRole('button', { name: 'Save as version' }).click();
    await dialog(page).getByText('changed').first().waitFor();
    await submit(page);
    await page.locator('.value-text', { hasText: 'mine' }).waitFor();
    const history = await page.locator('.history li').count();
    await page.getByRole('button', { name: 'New key' }).click();
    await submit(page, { key: 'visits', value: '41' });
    await page.getByRole('button', { name: 'Increment' }).click();
    await submit(page, { by: '1' });
    await page.locator('.value-text', { hasText: '42' }).waitFor();
    await page.getByRole('button', { name: 'Remove', exact: true }).click();
    await submit(page);
    await seen(page, 'This key does not exist now.');
    const importing = async (text) => page.setInputFiles('input[type=file]', { name: 'keys.jsonl', mimeType: 'application/jsonl', buffer: Buffer.from(text) });
    await importing('{"key": "two words", "value": ""}');
    await page.locator('.notice.bad', { hasText: 'Line 1: A name can’t have blanks' }).waitFor();
    await importing(Array.from({ length: 250 }, (_, number) => `${JSON.stringify({ key: `many-${number}`, value: `a;b ${number}` })}\n`).join(''));
    await submit(page);
    await page.fill('input[type=search]', 'many-*');
    await seen(page, '250 of 253 keys');
    const exporting = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Export' }).click();
    const exported = readFileSync(await (await exporting).path(), 'utf8');
    await page.getByRole('button', { name: 'Remove these' }).click();
    await submit(page, { count: '250' });
    await seen(page, '0 of 3 keys');

    await go(page, 'watch/plan', 'Watch');
    await page.fill('#watch-pattern', 'client-*');
    await page.getByRole('button', { name: 'Watch', exact: true }).click();
    await ask('change', { key: 'client-1' });
    await page.locator('.watch-row', { hasText: 'client-1' }).waitFor();
    await page.getByRole('button', { name: 'Pause' }).click();
    await ask('change', { key: 'client-2' });
    await page.getByRole('button', { name: 'Go on (1 new)' }).click();
    await page.locator('.watch-row', { hasText: 'client-2' }).waitFor();
    const downloading = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Save as JSON Lines' }).click();
    const lines = readFileSync(await (await downloading).path(), 'utf8');

    await go(page, 'users/plan', 'Users and permissions');
    await page.getByRole('button', { name: 'Add user' }).click();
    await submit(page, { user: 'ANA', token: 'ana-token' });
    await page.getByRole('button', { name: 'Grant a permission to ANA' }).click();
    await dialog(page).getByRole('checkbox', { name: 'write' }).check();
    await submit(page, { pattern: 'client-*' });
    const kinds = page.getByRole('group', { name: 'ANA on client-*' });
    await kinds.getByRole('button', { name: 'remove' }).click();
    await kinds.getByRole('button', { name: 'remove', pressed: true }).waitFor();
    await kinds.getByRole('button', { name: 'read' }).click();
    await kinds.getByRole('button', { name: 'read', pressed: false }).waitFor();
    const question = page.locator('.question');
    await question.getByLabel('May', { exact: true }).fill('ANA');
    await question.getByLabel('Key').fill('client-7');
    await question.getByRole('button', { name: 'Ask' }).click();
    const may = await page.locator('.answer').textContent();
    await page.getByRole('button', { name: 'Change token of ANA' }).click();
    await dialog(page).getByRole('button', { name: 'Generate' }).click();
    const token = await dialog(page).locator('#field-token[type=text]').inputValue();
    await submit(page);
    await page.getByRole('button', { name: 'Remove ANA' }).click();
    await submit(page);
    await page.getByRole('group', { name: 'ANA on client-*' }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Add administrator' }).click();
    await submit(page, { name: 'eva', password: 'eva-pwd' });
    await page.getByRole('button', { name: 'Change password of eva' }).click();
    await submit(page, { password: 'eva-pwd-2' });
    await page.getByRole('button', { name: 'Remove administrator eva' }).click();
    await submit(page, { name: 'eva' });
    await page.getByRole('button', { name: 'Remove administrator eva' }).waitFor({ state: 'detached' });

    await ask('connect');
    await go(page, 'sessions', 'Sessions');
    await page.getByRole('button', { name: 'Watched by all' }).click();
    await dialog(page).getByText('camera').waitFor();
    await submit(page);
    const end = page.getByRole('button', { name: /^End the session of all/ });
    await end.click();
    await submit(page);
    await end.waitFor({ state: 'detached' });

    await ask('conflict');
    await go(page, 'conflicts', 'Conflicts');
    for (const side of ['free', 'taken by ana']) await page.locator('.choice .value-text', { hasText: side }).click();
    await page.getByRole('button', { name: 'Take the change' }).click();
    await seen(page, 'No conflict waits.');

    await go(page, 'backups', 'Backups');
    await page.getByRole('button', { name: 'Make a backup now' }).click();
    await page.getByRole('button', { name: /^Verify / }).first().click();
    await page.locator('.badge', { hasText: 'whole' }).waitFor();
    const saving = page.waitForEvent('download');
    await page.getByRole('link', { name: /^Download / }).first().click();
    const backup = readFileSync(await (await saving).path()).length;

    await go(page, 'audit', 'Audit');
    await page.getByLabel('Event').fill('drop-db');
    await page.waitForFunction(() => {
      const rows = [...document.querySelectorAll('tbody tr')];
      return rows.length === 1 && rows[0].textContent.includes('second');
    });
    await go(page, 'settings', 'Settings');
    await row(page, 'NUN_PWD').getByText('********').waitFor();
    return { warnings, isHeld, pretty, history, exported, token, lines, may: may.replaceAll(/\s+/g, ' '), backup };
  },

  /** The nodes of a cluster; another takes over, and the console is there. */
  async cluster(browser) {
    const page = await open(browser);
    await logIn(page);
    await page.getByRole('link', { name: 'Cluster' }).click();
    await row(page, 'runs commands').getByText(options.owner, { exact: true }).waitFor();
    const other = row(page, 'follows').filter({ hasText: options.successor });
    await other.waitFor();
    await checkAccess(page, 'cluster');
    await other.getByRole('button', { name: `Hand over to ${options.successor}` }).click();
    await submit(page);
    await page.getByText('the console is at the node that owns the data').waitFor();
    page.complaints = page.complaints.filter((text) => !/status of 403|ERR_/.test(text));
    return {};
  },

  /** Who follows whom in a room, as the viewer extension's own code says it. */
  async rooms(browser, origin) {
    const people = await (await browser.newContext()).newPage();
    await people.goto(origin);
    await people.waitForFunction(() => globalThis.enter);
    const enter = (id, name) => people.evaluate(([room, ...who]) => globalThis.enter(room, ...who), [options.room, id, name]);
    await enter('aa', 'Ana');
    await enter('bb', 'Ben');
    const page = await open(browser);
    await logIn(page);
    await go(page, `rooms/${options.database}`, 'Rooms');
    const says = (...words) => page.waitForFunction((wanted) => wanted.every((text) => document.querySelector('.room')?.textContent.includes(text)), words);
    await says('client-lesson', 'People: 2', 'nobody leads');
    await people.evaluate(() => globalThis.Ana.roles.takeOver());
    await says('Ana leads', 'Ben', 'follows Ana');
    await people.evaluate(() => globalThis.Ben.roles.letGo());
    await says('Ana leads', 'on their own');
    await people.evaluate(() => globalThis.Ben.roles.takeOver());
    await says('Ben leads', 'follows Ben');
    await people.evaluate(() => globalThis.Ben.leave());
    await says('People: 1', 'the leader is away');
    return {};
  },

  /** Each screen at each size, in both colours: nothing overflows, everybody can use it, and it is kept as a picture. */
  async pictures(browser) {
    const overflowing = [];
    for (const [size, viewport] of Object.entries(SIZES)) {
      const page = await open(browser, { viewport, colorScheme: size === 'desktop' ? 'dark' : 'light' });
      const save = (name) => page.screenshot({ path: path.join(options.pictures, `console-${size}-${name}.png`) });
      await save('login');
      await logIn(page);
      for (const screen of SCREENS) {
        await go(page, ['keys', 'watch', 'users', 'rooms'].includes(screen) ? `${screen}/${options.database}` : screen);
        await page.getByText('Loading…').first().waitFor({ state: 'detached' });
        if (screen === 'keys') {
          await page.getByRole('treeitem', { name: /^client/ }).first().click();
          await page.getByRole('treeitem', { name: /camera/ }).first().click();
          await page.locator('.value-text').waitFor();
        }
        if (screen === 'watch') {
          await ask('change', { key: 'client-lesson-1-camera' });
          await page.locator('.watch-row').first().waitFor();
        }
        if (screen === 'conflicts') await page.locator('.conflict').waitFor();
        if (screen === 'databases') await page.waitForFunction(() => !document.querySelector('tbody').textContent.includes('…'));
        await save(screen);
        // Both colours, and what is laid out otherwise on a phone.
        const isNarrow = size === 'phone' && ['overview', 'keys', 'users'].includes(screen);
        if (size === 'desktop' || isNarrow) await checkAccess(page, `${screen}, ${size}`);
        const [inside, outside] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        if (inside > outside) overflowing.push(`${screen}, ${size}: ${inside} > ${outside}`);
      }
      if (page.complaints.length) throw new Error(page.complaints.join('\n'));
      await page.context().close();
    }
    return { overflowing };
  },

  /** A hundred thousand keys: how long the page did nothing else, while it loaded, searched, opened and changed. */
  async many(browser) {
    const page = await open(browser);
    await logIn(page);
    const longestTask = await tracing(browser, page);
    await go(page, `keys/${options.database}`, 'Keys');
    await page.getByText(/^100,00\d keys$/).waitFor({ timeout: 60_000 });
    await page.locator('.tree-row', { hasText: 'patient-' }).click();
    await page.locator('#key-tree').press('End');
    await page.locator('.tree-row', { hasText: '099999-state' }).waitFor();
    const rows = await page.locator('.tree-row').count();
    await page.fill('input[type=search]', 'patient-0770');
    await page.getByText(/of 100,00\d keys/).waitFor();
    await page.locator('#key-tree').press('Home');
    await page.locator('.tree-row', { hasText: '077000-state' }).click();
    await page.locator('.value-text').waitFor();
    await ask('changes');
    await page.locator('.value-text', { hasText: 'last' }).waitFor({ timeout: 60_000 });
    return { rows, stall: await longestTask() };
  },

  /** Names and values that are markup. */
  async markup(browser) {
    const page = await open(browser);
    await logIn(page);
    for (const screen of SCREENS) {
      await go(page, ['keys', 'watch', 'users', 'rooms'].includes(screen) ? `${screen}/${encodeURIComponent(options.database)}` : screen);
      await page.getByText('Loading…').first().waitFor({ state: 'detached' });
    }
    await go(page, `keys/${encodeURIComponent(options.database)}/${encodeURIComponent(options.key)}`);
    await page.locator('.value-text').waitFor();
    const value = await page.locator('.value-text').textContent();
    await go(page, `users/${encodeURIComponent(options.database)}`);
    await page.locator('.matrix .strong', { hasText: options.name }).waitFor();
    await go(page, 'databases');
    await page.locator('td .strong', { hasText: options.database }).waitFor();
    const found = await page.evaluate(() => [globalThis.pwned ?? null, document.querySelectorAll('main img, main script').length]);
    return { value, found };
  },

  /** A user who may only read. */
  async reader(browser) {
    const page = await open(browser);
    await logInAs(page, options.database, 'reader', 'reader-token');
    const links = await page.locator('nav a').allTextContents();
    await page.evaluate(() => {
      location.hash = 'databases'; // which is not for users: they stay where they are
    });
    await page.getByRole('treeitem', { name: 'open' }).click();
    await page.locator('.value-text', { hasText: 'value' }).waitFor();
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.fill('#value-editor', 'other');
    await page.getByRole('button', { name: 'Save as version' }).click();
    await page.locator('.notice.bad', { hasText: 'permission denied' }).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('treeitem', { name: 'closed' }).click();
    await page.locator('.error', { hasText: 'permission denied' }).waitFor();
    await ask('change', { key: 'open' });
    await page.getByRole('treeitem', { name: 'open' }).click();
    await page.locator('.value-text', { hasText: 'changed' }).waitFor();
    return { links: links.map((text) => text.trim()) };
  },

  /** The connection breaks and comes back; the login ends by somebody else's hand; the server goes. */
  async endings(browser) {
    const page = await open(browser);
    const sockets = [];
    await page.routeWebSocket('**/socket', (socket) => {
      sockets.push(socket);
      socket.connectToServer();
    });
    await logIn(page);
    await go(page, `keys/${options.database}`, 'Keys');
    await page.getByRole('treeitem', { name: 'open' }).waitFor();
    await sockets.at(-1).close({ code: 4000 });
    await page.locator('.connection.bad').waitFor();
    await page.locator('.connection.good').waitFor();
    await page.getByRole('treeitem', { name: 'open' }).click();
    await ask('change', { key: 'open' });
    await page.locator('.value-text', { hasText: 'changed' }).waitFor();

    await ask('revoke');
    await seen(page, 'Your login has ended. Log in again.');
    await logIn(page);
    await page.context().clearCookies();
    await sockets.at(-1).close({ code: 4000 });
    await seen(page, 'Your login has ended. Log in again.');
    await logIn(page);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForSelector('#login-user');
    await page.reload();
    await page.waitForSelector('#login-user');
    await logIn(page);
    await ask('restart');
    await seen(page, 'Your login has ended. Log in again.');
    page.complaints = page.complaints.filter((text) => !/ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/.test(text));
    return {};
  },

  /** Two administrators see each other's changes; German, UTC, dark, by the keyboard alone. */
  async together(browser) {
    const ours = await open(browser);
    const theirs = await open(browser);
    await logIn(ours);
    await logIn(theirs);
    await go(ours, `keys/${options.database}`, 'Keys');
    await go(theirs, `keys/${options.database}`, 'Keys');
    await theirs.getByRole('button', { name: 'New key' }).click();
    await submit(theirs, { key: 'from-them', value: 'hello' });
    await ours.fill('input[type=search]', 'from-them');
    const tree = ours.locator('#key-tree');
    await ours.getByRole('treeitem', { name: 'from-them' }).waitFor();
    await tree.press('Home');
    await tree.press('Enter');
    await ours.locator('.value-text', { hasText: 'hello' }).waitFor();
    await theirs.getByRole('button', { name: 'Remove', exact: true }).click();
    await submit(theirs);
    await seen(ours, 'This key does not exist now.');
    await ours.locator('.top .language select').selectOption('de');
    await ours.getByRole('heading', { level: 1, name: 'Schlüssel' }).waitFor();
    await ours.locator('.top .theme select').selectOption('dark');
    await ours.getByRole('button', { name: 'Ortszeit' }).click();
    await go(ours, 'audit', 'Protokoll');
    await ours.locator('time', { hasText: 'UTC' }).first().waitFor();
    const back = await ours.evaluate(() => getComputedStyle(document.body).backgroundColor);
    if (theirs.complaints.length) throw new Error(theirs.complaints.join('\n'));
    ours.complaints.push(...theirs.complaints);
    return { back };
  },
};

const PEOPLE = '<!doctype html><title>People</title><script type="module" src="/people.js"></script>';
const pages = options.scenario === 'rooms' ? { '/': PEOPLE, '/people.js': await bundle(path.join(import.meta.dirname, 'people.js')) } : {};

main(() =>
  withBrowser(options.chromium, pages, async (browser, origin) => {
    violations = [];
    const result = await scenarios[options.scenario](browser, origin);
    const complaints = browser.contexts().flatMap((context) => context.pages()).flatMap((page) => page.complaints ?? []);
    return { ...result, violations, complaints };
  }),
);
