// All databases: made, renamed, copied, dropped; how large they are.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { empty, filterField, icon, number, Polling, size } from './ui.js';
import { checkName, checkSecret } from './words.js';

const REST_MS = 5000;
const MEASURED_AT_ONCE = 20;

export class Databases {
  #app;
  #rows = null;
  #sizes = new Map();
  #filter = '';
  #polling;
  #isMeasuring = false;

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
    this.#rows = await this.#app.connection.rows('list-dbs', 'databases');
    const isNew = ({ name }) => !this.#sizes.has(name);
    this.#measure(this.#rows.slice(0, MEASURED_AT_ONCE).filter(isNew));
  }

  async #measure(rows) {
    if (this.#isMeasuring) return;
    this.#isMeasuring = true;
    try {
      for (const { name } of rows) {
        this.#sizes.set(name, await this.#app.connection.json(`db-size ${name}`));
        this.#app.draw();
      }
    } catch (error) {
      this.#app.fail(error);
    }
    this.#isMeasuring = false;
  }

  #create() {
    this.#app.dialogs.open({
      title: t('createDatabase'),
      action: t('create'),
      fields: [
        { name: 'name', label: t('name') },
        { name: 'token', label: t('token'), type: 'secret', hint: `${t('tokenHint')} ${t('secretHint')}` },
        {
          name: 'strategy',
          label: t('strategy'),
          value: 'none',
          options: ['none', 'newer', 'arbiter'].map((value) => ({ value, text: t(`strategy_${value}`) })),
        },
      ],
      onSubmit: async ({ name, token, strategy }) => {
        checkName(name);
        await this.#app.connection.command(`create-db ${name} ${checkSecret(token)} ${strategy}`);
        this.#app.notices.tell(t('created', name));
        await this.#polling.now();
      },
    });
  }

  #rename({ name }) {
    this.#app.dialogs.open({
      title: t('renameDatabase', name),
      body: html`<p class="muted">${t('renameNote')}</p>`,
      action: t('rename'),
      fields: [{ name: 'name', label: t('newName'), value: name }],
      onSubmit: async (values) => {
        checkName(values.name);
        await this.#app.connection.command(`rename-db ${name} ${values.name}`);
        this.#app.connection.forget(name);
        this.#app.notices.tell(t('renamed', name, values.name));
        await this.#polling.now();
      },
    });
  }

  #copy({ name }) {
    this.#app.dialogs.open({
      title: t('copyDatabase', name),
      action: t('copy'),
      fields: [{ name: 'name', label: t('newName') }],
      onSubmit: async (values) => {
        checkName(values.name);
        const { keys } = await this.#app.connection.json(`copy-db ${name} ${values.name}`);
        this.#app.notices.tell(t('copiedDatabase', values.name, number(keys)));
        await this.#polling.now();
      },
    });
  }

  #drop({ name }) {
    this.#app.dialogs.open({
      title: t('dropDatabase', name),
      body: html`<p>${t('dropNote')}</p>`,
      action: t('drop'),
      isDangerous: true,
      fields: [{ name: 'name', label: t('typeName', name), mustBe: name }],
      onSubmit: async () => {
        await this.#app.connection.command(`drop-db ${name}`);
        this.#app.connection.forget(name);
        this.#app.notices.tell(t('dropped', name));
        await this.#polling.now();
      },
    });
  }

  view() {
    const rows = (this.#rows ?? []).filter(({ name }) => name.toLowerCase().includes(this.#filter.toLowerCase()));
    return html`<div class="head"><h1>${t('databases')}</h1>
        <button class="button primary" @click=${() => this.#create()}>${icon('plus')}<span>${t('createDatabase')}</span></button></div>
      <div class="tools">
        ${filterField(this.#filter, (text) => {
          this.#filter = text;
          this.#app.draw();
        })}
        <button class="button" @click=${() => this.#measure(rows)}>${icon('refresh')}<span>${t('measure')}</span></button>
      </div>
      ${
        this.#rows === null
          ? html`<p class="muted">${t('loading')}</p>`
          : rows.length
            ? this.#table(rows)
            : empty(t('noDatabases'))
      }`;
  }

  #table(rows) {
    return html`<div class="table-box" tabindex="0" role="region" aria-label=${t('databases')}><table>
      <thead><tr><th>${t('name')}</th><th>${t('strategy')}</th><th class="right">${t('sessions')}</th>
        <th class="right">${t('keys')}</th><th class="right">${t('size')}</th><th><span class="hidden">${t('actions')}</span></th></tr></thead>
      <tbody>${rows.map((row) => this.#row(row))}</tbody></table></div>`;
  }

  #row(row) {
    const measured = this.#sizes.get(row.name);
    const isOurs = row.name === '$admin';
    return html`<tr>
      <td><a class="strong" href="#keys/${encodeURIComponent(row.name)}">${row.name}</a></td>
      <td><span class="badge">${row.strategy}</span></td>
      <td class="right">${number(row.connections)}</td>
      <td class="right">${measured ? number(measured.keys) : '…'}</td>
      <td class="right">${measured ? size(measured.bytes) : '…'}</td>
      <td class="row-actions">
        <a class="button small" href="#users/${encodeURIComponent(row.name)}" aria-label=${t('usersOf', row.name)}>${t('usersShort')}</a>
        ${
          isOurs
            ? nothing
            : html`<button class="button small" aria-label=${t('copyDatabase', row.name)} @click=${() => this.#copy(row)}>${t('copy')}</button>
              <button class="button small" aria-label=${t('renameDatabase', row.name)} @click=${() => this.#rename(row)}>${t('rename')}</button>
              <button class="button small danger-text" aria-label=${t('dropDatabase', row.name)} @click=${() => this.#drop(row)}>${t('drop')}</button>`
        }
      </td></tr>`;
  }
}
