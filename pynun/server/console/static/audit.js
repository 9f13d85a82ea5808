// The end of the audit trail, with filters; follows while it is open.
import { html, nothing } from './lit-html.js';
import { ask } from './connection.js';
import { t } from './texts.js';
import { empty, icon, Polling, timeTag } from './ui.js';

const REST_MS = 4000;
const SEEN_MAX = 200; // words that a filter proposes
const FILTERS = ['event', 'user', 'database', 'address'];
const OUTCOMES = ['', 'ok', 'failed', 'refused'];
const SHOWN = new Set(['time', 'event', 'outcome', 'address', 'database', 'user', 'command']);

export class Audit {
  #app;
  #wanted = { event: '', outcome: '', user: '', database: '', address: '', text: '' };
  #found = null;
  #seen = new Map(FILTERS.map((name) => [name, new Set()]));
  #polling;
  #typing = null;

  constructor(app) {
    this.#app = app;
    this.#polling = new Polling(app, REST_MS, () => this.#look());
  }

  connected() {
    this.#polling.now();
  }

  close() {
    this.#polling.close();
    clearTimeout(this.#typing);
  }

  async #look() {
    const wanted = Object.fromEntries(Object.entries(this.#wanted).filter(([, text]) => text));
    this.#found = await ask('audit', wanted);
    for (const line of this.#found.lines) {
      for (const [name, values] of this.#seen) if (line[name] && values.size < SEEN_MAX) values.add(line[name]);
    }
  }

  #set(name, value) {
    this.#wanted[name] = value.trim();
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#polling.now(), 250);
  }

  view() {
    const found = this.#found;
    return html`<h1>${t('audit')}</h1>
      <div class="tools filters">
        ${FILTERS.map(
          (name) =>
            html`<label class="inline-field"><span>${t(`audit_${name}`)}</span><input spellcheck="false" autocomplete="off"
              autocapitalize="off" list=${`audit-${name}`} @input=${(event) => this.#set(name, event.target.value)} />
              <datalist id=${`audit-${name}`}>${[...this.#seen.get(name)].sort().map((one) => html`<option value=${one}></option>`)}</datalist></label>`,
        )}
        <label class="inline-field"><span>${t('audit_outcome')}</span><select @change=${(event) => this.#set('outcome', event.target.value)}>
          ${OUTCOMES.map((outcome) => html`<option value=${outcome}>${t(`outcome_${outcome || 'any'}`)}</option>`)}</select></label>
        <label class="inline-field grow"><span>${t('containing')}</span><input type="search" spellcheck="false"
          @input=${(event) => this.#set('text', event.target.value)} /></label>
      </div>
      ${
        found === null
          ? html`<p class="muted">${t('loading')}</p>`
          : found.is_off
            ? empty(t('auditOff'))
            : found.lines.length
              ? this.#table(found)
              : empty(t('nothingFound'))
      }`;
  }

  #table({ lines, is_cut: isCut }) {
    return html`<div class="table-box" tabindex="0" role="region" aria-label=${t('audit')}><table class="audit-table">
        <thead><tr><th>${t('time')}</th><th>${t('audit_event')}</th><th>${t('audit_outcome')}</th><th>${t('who')}</th>
          <th>${t('audit_database')}</th><th>${t('audit_address')}</th><th>${t('details')}</th></tr></thead>
        <tbody>${lines.map((line) => this.#row(line))}</tbody></table></div>
      ${isCut ? html`<p class="muted">${icon('warning')} ${t('auditCut')}</p>` : nothing}`;
  }

  #row(line) {
    const more = Object.entries(line).filter(([name, value]) => !SHOWN.has(name) && value !== null);
    return html`<tr class=${line.outcome === 'ok' ? '' : 'bad-row'}>
      <td class="nowrap">${timeTag(Date.parse(line.time))}</td><td><b>${line.event}</b></td>
      <td><span class="badge ${line.outcome === 'ok' ? 'good' : 'bad'}">${line.outcome}</span></td>
      <td>${line.user ?? '–'}</td><td>${line.database ?? '–'}</td><td>${line.address ?? t('thisMachine')}</td>
      <td class="details">${line.command ? html`<code>${line.command}</code>` : nothing}
        ${more.map(([name, value]) => html`<span class="muted">${name}: ${String(value)}</span>`)}</td></tr>`;
  }
}
