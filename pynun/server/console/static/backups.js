// The backups: made, downloaded, verified.
import { html, nothing } from './lit-html.js';
import { ask } from './connection.js';
import { t } from './texts.js';
import { empty, icon, number, Polling, size, timeTag } from './ui.js';

const REST_MS = 10_000;
const GONE = 404;
const REFUSED = 409;

export class Backups {
  #app;
  #found = null;
  #checks = new Map();
  #isMaking = false;
  #polling;

  constructor(app) {
    this.#app = app;
    this.#polling = new Polling(app, REST_MS, async () => {
      this.#found = await ask('backups');
    });
  }

  connected() {
    this.#polling.now();
  }

  close() {
    this.#polling.close();
  }

  async #make() {
    this.#isMaking = true;
    this.#app.draw();
    await this.#app.try(async () => {
      const { name } = await ask('backup-make');
      this.#app.notices.tell(t('backupMade', name));
      await this.#polling.now();
    });
    this.#isMaking = false;
    this.#app.draw();
  }

  async #verify(name) {
    this.#checks.set(name, { isBusy: true });
    this.#app.draw();
    try {
      this.#checks.set(name, await ask('backup-verify', { name }));
    } catch (error) {
      this.#checks.delete(name);
      if (error.status === REFUSED) this.#checks.set(name, { error: error.message });
      else this.#app.fail(error);
      if (error.status === GONE) await this.#polling.now(); // the list without it
    }
    this.#app.draw();
  }

  view() {
    const found = this.#found;
    return html`<div class="head"><h1>${t('backups')}</h1>
        <button class="button primary" ?disabled=${found === null || this.#isMaking} @click=${() => this.#make()}>
          ${icon('plus')}<span>${this.#isMaking ? t('busy') : t('makeBackup')}</span></button></div>
      ${
        found === null
          ? html`<p class="muted">${t('loading')}</p>`
          : html`<p class="muted">${t('folder')} <code>${found.folder}</code></p>
              ${found.is_scheduled ? nothing : html`<p class="warn-text">${t('sameDisk')} ${t('help_noBackups')}</p>`}
              ${found.backups.length ? this.#table(found.backups) : empty(t('noBackupsYet'))}`
      }
      <p class="muted">${t('restoreNote')}</p>`;
  }

  #table(rows) {
    return html`<div class="table-box" tabindex="0" role="region" aria-label=${t('backups')}><table>
      <thead><tr><th>${t('file')}</th><th>${t('made')}</th><th class="right">${t('size')}</th><th>${t('check')}</th>
        <th><span class="hidden">${t('actions')}</span></th></tr></thead>
      <tbody>${rows.map(
        (row) => html`<tr><td class="nowrap"><code>${row.name}</code></td><td>${timeTag(Date.parse(row.made))}</td>
          <td class="right">${size(row.bytes)}</td><td role="status">${this.#checkView(row.name)}</td>
          <td class="row-actions">
            <button class="button small" aria-label=${t('verifyFile', row.name)} ?disabled=${this.#checks.get(row.name)?.isBusy}
              @click=${() => this.#verify(row.name)}>${t('verify')}</button>
            <a class="button small" aria-label=${t('downloadFile', row.name)} href="backup-download?name=${encodeURIComponent(row.name)}" download=${row.name}>${t('download')}</a>
          </td></tr>`,
      )}</tbody></table></div>`;
  }

  #checkView(name) {
    const check = this.#checks.get(name);
    if (!check) return nothing;
    if (check.isBusy) return t('busy');
    if (check.error) return html`<span class="badge bad">${t('notUsable')}</span> ${check.error}`;
    const keys = check.databases.reduce((sum, one) => sum + one.keys, 0);
    return html`<span class="badge good">${t('whole')}</span> ${t('backupHolds', number(check.databases.length), number(keys))}`;
  }
}
