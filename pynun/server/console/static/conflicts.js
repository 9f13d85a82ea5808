// Changes that wait for an arbiter: both sides, and one is chosen by hand.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { empty, number, Polling, timeTag } from './ui.js';
import { oneLine } from './words.js';

const REST_MS = 5000;
const SEVERAL_REST_MS = 60_000; // each change of the database is a line in the audit trail
const READ_MAX = 500;

export class Conflicts {
  #app;
  #found = null;
  #polling;

  constructor(app) {
    this.#app = app;
    this.#polling = new Polling(app, REST_MS, () => this.#look());
  }

  connected() {
    this.#polling.now();
  }

  close() {
    this.#polling.close();
  }

  async #look() {
    const databases = await this.#app.connection.rows('list-dbs', 'databases');
    const found = [];
    const arbitrated = databases.filter(({ strategy }) => strategy === 'arbiter');
    for (const { name } of arbitrated) found.push(...(await this.#conflictsOf(name)));
    this.#found = found;
    return arbitrated.length > 1 ? SEVERAL_REST_MS : REST_MS;
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

  async #decide({ database, id, key, version }, value) {
    await this.#app.connection.command(`resolve ${id} ${database} ${key} ${version} ${value}`);
    this.#app.notices.tell(t('resolved', key));
    await this.#polling.now();
  }

  #resolve(conflict, value) {
    return this.#app.try(() => this.#decide(conflict, value));
  }

  #resolveOtherwise(conflict) {
    this.#app.dialogs.open({
      title: t('resolveKey', conflict.key),
      action: t('resolve'),
      fields: [{ name: 'value', label: t('value'), value: conflict.other, rows: 6, optional: true }],
      onSubmit: ({ value }) => this.#decide(conflict, oneLine(value)),
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
      <div class="choices">
        <div class="choice"><h3>${t('storedSide')}</h3><pre class="value-text" tabindex="0" aria-label=${t('storedSide')}>${mine}</pre>
          <button class="button" @click=${() => this.#resolve(conflict, mine)}>${t('keepStored')}</button></div>
        <div class="choice"><h3>${t('newSide')}</h3><pre class="value-text" tabindex="0" aria-label=${t('newSide')}>${other}</pre>
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
