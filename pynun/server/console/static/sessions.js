// Who is connected: from where, since when, what is watched, what waits; ends one.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { empty, filterField, icon, number, Polling, size, timeTag } from './ui.js';

const REST_MS = 3000;
const SHOWN_MAX = 1000;

export class Sessions {
  #app;
  #rows = null;
  #filter = '';
  #polling;

  constructor(app) {
    this.#app = app;
    this.#polling = new Polling(app, REST_MS, async () => {
      this.#rows = await app.connection.rows('list-sessions', 'sessions');
    });
  }

  connected() {
    this.#polling.now();
  }

  close() {
    this.#polling.close();
  }

  #end(row) {
    this.#app.dialogs.open({
      title: t('endSession', this.#who(row), row.address),
      body: html`<p class="muted">${row.is_this ? t('endThisNote') : t('endNote')}</p>`,
      action: t('end'),
      isDangerous: true,
      onSubmit: async () => {
        await this.#app.connection.command(`disconnect ${row.id}`);
        await this.#polling.now();
      },
    });
  }

  async #showWatches(row) {
    await this.#app.try(async () => {
      const { keys } = await this.#app.connection.json(`console-watched ${row.id}`);
      this.#app.dialogs.open({
        title: t('watchedBy', this.#who(row) || row.address),
        body: html`<ul class="plain-list watched">${keys.map((key) => html`<li><code>${key}</code></li>`)}</ul>`,
        action: t('close'),
        onSubmit: () => {},
      });
    });
  }

  #who(row) {
    return row.admin ?? row.user ?? '';
  }

  view() {
    const wanted = this.#filter.toLowerCase();
    const rows = (this.#rows ?? []).filter((row) =>
      [row.address, row.database, row.user, row.admin, row.transport].some((text) =>
        String(text ?? '').toLowerCase().includes(wanted),
      ),
    );
    return html`<div class="head"><h1>${t('sessions')}</h1>
        <span class="muted" role="status">${this.#rows === null ? t('loading') : t('sessionsCount', number(rows.length))}</span></div>
      <div class="tools">${filterField(this.#filter, (text) => {
        this.#filter = text;
        this.#app.draw();
      })}</div>
      ${this.#rows !== null && !rows.length ? empty(t('nothingFound')) : nothing}
      ${
        rows.length
          ? html`<div class="table-box" tabindex="0" role="region" aria-label=${t('sessions')}><table>
              <thead><tr><th>${t('who')}</th><th>${t('database')}</th><th>${t('from')}</th><th>${t('connectedSince')}</th>
                <th class="right">${t('watches')}</th><th class="right">${t('unread')}</th>
                <th><span class="hidden">${t('actions')}</span></th></tr></thead>
              <tbody>${rows.slice(0, SHOWN_MAX).map((row) => this.#row(row))}</tbody></table></div>`
          : nothing
      }`;
  }

  #row(row) {
    return html`<tr>
      <td><span class="strong">${this.#who(row) || t('nobodyYet')}</span>
        ${row.is_admin ? html`<span class="badge">${t('adminShort')}</span>` : nothing}
        ${row.is_this ? html`<span class="badge good">${t('thisPage')}</span>` : nothing}</td>
      <td>${row.database ?? '–'}</td>
      <td>${row.address || t('thisMachine')} <span class="muted">${row.transport}</span></td>
      <td>${timeTag(Date.parse(row.since))}</td>
      <td class="right">${
        row.watches
          ? html`<button class="button small" aria-label=${t('watchedBy', this.#who(row))} @click=${() => this.#showWatches(row)}>${number(row.watches)}</button>`
          : 0
      }</td>
      <td class="right">${size(row.outbox_bytes)}</td>
      <td class="row-actions"><button class="button small danger-text"
        aria-label=${t('endSession', this.#who(row), row.address)} @click=${() => this.#end(row)}>${icon('close')}<span>${t('end')}</span></button></td></tr>`;
  }
}
