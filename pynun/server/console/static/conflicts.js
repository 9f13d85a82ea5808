// Changes that wait for an arbiter: both sides, and one is chosen by hand.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { empty, number, timeTag } from './ui.js';

const EVERY_MS = 5000;
const READ_MAX = 500;

export class Conflicts {
  #app;
  #found = null;
  #timer;
  #isAsking = false;

  constructor(app) {
    this.#app = app;
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
  }

  connected() {
    this.#look();
  }

  close() {
    clearInterval(this.#timer);
  }

  async #look() {
    const { connection, isConnected } = this.#app;
    if (!isConnected || this.#isAsking) return;
    this.#isAsking = true;
    try {
      const databases = await connection.rows('list-dbs', 'databases');
      const found = [];
      for (const { name, strategy } of databases) {
        if (strategy === 'arbiter') found.push(...(await this.#conflictsOf(name)));
      }
      this.#found = found;
    } catch (error) {
      this.#app.fail(error);
    }
    this.#isAsking = false;
    this.#app.draw();
  }

  async #conflictsOf(database) {
    const { connection } = this.#app;
    const records = await connection.rows('list-keys $conflicts_*', 'keys', database);
    const found = [];
    for (const record of records.slice(0, READ_MAX)) {
      const text = valueOf(await connection.inDatabase(database, `get ${record}`));
      const parts = /^resolve (\d+) (\S+) (-?\d+) (\S+) ([^]*)$/.exec(text);
      if (!parts) continue; // resolved already
      const [, id, , version, key, sides] = parts;
      const current = valueOf(await connection.inDatabase(database, `get ${key}`));
      found.push({ database, record, id, version: Number(version), key, ...split(sides, current) });
    }
    return found;
  }

  #resolve(conflict, value) {
    const { database, id, key, version } = conflict;
    return this.#app.try(async () => {
      await this.#app.connection.command(`resolve ${id} ${database} ${key} ${version} ${value}`);
      this.#app.notices.tell(t('resolved', key));
      await this.#look();
    });
  }

  #resolveOtherwise(conflict) {
    this.#app.dialogs.open({
      title: t('resolveKey', conflict.key),
      action: t('resolve'),
      fields: [{ name: 'value', label: t('value'), value: conflict.other, rows: 6, optional: true }],
      onSubmit: async ({ value }) => {
        await this.#app.connection.command(
          `resolve ${conflict.id} ${conflict.database} ${conflict.key} ${conflict.version} ${value.replaceAll(/[\r\n]+/g, ' ')}`,
        );
        await this.#look();
      },
    });
  }

  view() {
    const found = this.#found;
    return html`<div class="head"><h1>${t('conflicts')}</h1>
        <span class="muted" role="status">${found === null ? t('loading') : t('conflictsCount', number(found.length))}</span></div>
      <p class="muted">${t('conflictsNote')}</p>
      ${found !== null && !found.length ? empty(t('noConflicts')) : nothing}
      ${(found ?? []).map((conflict) => this.#view(conflict))}`;
  }

  #view(conflict) {
    const { key, database, mine, other, id } = conflict;
    return html`<section class="panel conflict"><h2>${key} <span class="muted">${database}</span></h2>
      <p class="muted">${timeTag(Math.floor(Number(id) / 1e6))}</p>
      <div class="sides">
        <div class="side"><h3>${t('storedSide')}</h3><pre class="value-text" tabindex="0" aria-label=${t('storedSide')}>${mine}</pre>
          <button class="button" @click=${() => this.#resolve(conflict, mine)}>${t('keepStored')}</button></div>
        <div class="side"><h3>${t('newSide')}</h3><pre class="value-text" tabindex="0" aria-label=${t('newSide')}>${other}</pre>
          <button class="button" @click=${() => this.#resolve(conflict, other)}>${t('takeNew')}</button></div>
      </div>
      <button class="button small" @click=${() => this.#resolveOtherwise(conflict)}>${t('otherValue')}</button></section>`;
  }
}

function valueOf([message = '']) {
  return message.replace(/^value /, '');
}

/** OLD and NEW of a record: OLD is the key's value, or the record before. Either may hold blanks. */
function split(sides, current) {
  if (sides.startsWith(`${current} `)) return { mine: current, other: sides.slice(current.length + 1) };
  const space = sides.indexOf(' ');
  return { mine: current, other: sides.slice(space + 1) };
}
