// The settings in force, the version, and the licences of everything that runs.
import { html, nothing } from './lit-html.js';
import { ask } from './connection.js';
import { t } from './texts.js';
import { filterField } from './ui.js';

export class Settings {
  #app;
  #found = null;
  #filter = '';
  #isOnlyChanged = false;

  constructor(app) {
    this.#app = app;
    this.#look();
  }

  async #look() {
    try {
      this.#found = await ask('settings');
      this.#app.draw();
    } catch (error) {
      this.#app.fail(error);
    }
  }

  view() {
    const found = this.#found;
    if (found === null) return html`<h1>${t('settings')}</h1><p class="muted">${t('loading')}</p>`;
    const wanted = this.#filter.toLowerCase();
    const rows = found.settings.filter(
      ({ name, help, value, is_default: isDefault }) =>
        `${name} ${help} ${value}`.toLowerCase().includes(wanted) && !(this.#isOnlyChanged && isDefault),
    );
    return html`<div class="head"><h1>${t('settings')}</h1><span class="muted">${t('versionIs', this.#app.version)}</span></div>
      <p class="muted">${t('settingsNote')}</p>
      <div class="tools">${filterField(this.#filter, (text) => {
          this.#filter = text;
          this.#app.draw();
        })}
        <label class="check"><input type="checkbox" .checked=${this.#isOnlyChanged} @change=${(event) => {
          this.#isOnlyChanged = event.target.checked;
          this.#app.draw();
        }} /> ${t('onlyChanged')}</label></div>
      <div class="table-box" tabindex="0" role="region" aria-label=${t('settings')}><table class="settings-table">
        <thead><tr><th>${t('setting')}</th><th>${t('value')}</th><th>${t('meaning')}</th></tr></thead>
        <tbody>${rows.map(
          (row) => html`<tr><td class="nowrap"><code class="strong">${row.name}</code></td>
            <td class="setting-value">${row.value === '' ? html`<span class="muted">${t('notSet')}</span>` : html`<code>${row.value}</code>`}
              ${row.is_default ? nothing : html`<span class="badge">${t('changed')}</span>`}</td>
            <td class="muted wide-text">${row.help}</td></tr>`,
        )}</tbody></table></div>
      <h2>${t('licences')}</h2>
      <div class="table-box" tabindex="0" role="region" aria-label=${t('licences')}><table>
        <thead><tr><th>${t('package')}</th><th>${t('version')}</th><th>${t('licence')}</th></tr></thead>
        <tbody>${found.licences.map(
          ({ name, version, licence }) => html`<tr><td class="strong">${name}</td><td>${version}</td><td>${licence}</td></tr>`,
        )}</tbody></table></div>`;
  }
}
