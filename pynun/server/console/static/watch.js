// What changes in a database, as it happens: any pattern, paused, filtered, copied, saved.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { copyText, databaseChoice, empty, filterField, icon, LongList, number, saveFile, time } from './ui.js';

const KEPT_MAX = 5000;
const ROW_HEIGHT = 34;

export class Watch {
  #app;
  #names = [];
  #pattern = '*';
  #filter = '';
  #isPaused = false;
  #events = [];
  #held = [];
  #total = 0;
  #leftOut = 0;
  #list;
  #wanted = null;

  constructor(app) {
    this.#app = app;
    this.#list = new LongList((event) => this.#row(event), ROW_HEIGHT);
  }

  open(database = null, pattern = null) {
    this.#wanted = database;
    if (pattern) this.#pattern = pattern;
  }

  async connected() {
    try {
      const before = this.#app.database;
      const { names, database } = await this.#app.chosenDatabase(this.#wanted);
      this.#names = names;
      if (before !== database) this.#clear();
      this.#follow();
      this.#app.draw();
    } catch (error) {
      this.#app.fail(error);
    }
  }

  close() {
    this.#app.connection?.unfollow();
  }

  #follow() {
    const pattern = this.#pattern.trim() || '*';
    this.#app.connection.follow(this.#app.database, pattern, (changes, leftOut) => this.#take(changes, leftOut));
  }

  #take(changes, leftOut) {
    const at = Date.now();
    this.#leftOut += leftOut;
    this.#total += changes.length;
    const events = changes.map(([key, version, value, length]) => ({ at, key, version, value, length }));
    const list = this.#isPaused ? this.#held : this.#events;
    list.unshift(...events.reverse());
    if (list.length > KEPT_MAX) list.length = KEPT_MAX;
    this.#app.draw();
  }

  #pause() {
    this.#isPaused = !this.#isPaused;
    if (!this.#isPaused) {
      this.#events.unshift(...this.#held);
      this.#events.length = Math.min(this.#events.length, KEPT_MAX);
      this.#held = [];
    }
    this.#app.draw();
  }

  #clear() {
    this.#events = [];
    this.#held = [];
    this.#total = this.#leftOut = 0;
  }

  get #visible() {
    const wanted = this.#filter.toLowerCase();
    if (!wanted) return this.#events;
    return this.#events.filter(
      ({ key, value }) => key.toLowerCase().includes(wanted) || value.toLowerCase().includes(wanted),
    );
  }

  #lines() {
    const lines = this.#visible.map(({ at, key, version, value, length }) =>
      JSON.stringify({
        time: new Date(at).toISOString(),
        database: this.#app.database,
        key,
        ...(version === null ? { removed: true } : { version, value }),
        ...(length > value.length ? { characters: length } : {}),
      }),
    );
    return lines.reverse().map((line) => `${line}\n`).join('');
  }

  drawn() {
    const element = document.querySelector('#watch-list');
    if (element) this.#list.draw(element, this.#visible);
  }

  view() {
    const visible = this.#visible;
    return html`<div class="head"><h1>${t('watch')}</h1>
        ${databaseChoice(this.#names, this.#app.database, (name) => this.#app.go('watch', name))}
        <form class="inline-field" @submit=${(event) => {
          event.preventDefault();
          this.#clear();
          this.#follow();
          this.#app.draw();
        }}><label for="watch-pattern">${t('pattern')}</label>
          <input id="watch-pattern" .value=${this.#pattern} spellcheck="false" autocapitalize="off" @input=${(event) => {
            this.#pattern = event.target.value;
          }} /><button class="button primary">${t('watchIt')}</button></form></div>
      <p class="muted">${t('patternHint')}</p>
      <div class="tools">
        ${filterField(this.#filter, (text) => {
          this.#filter = text;
          this.#app.draw();
        })}
        <button class="button" aria-pressed=${this.#isPaused} @click=${() => this.#pause()}>
          ${icon(this.#isPaused ? 'play' : 'pause')}<span>${
            this.#isPaused ? t('goOn', number(this.#held.length)) : t('pause')
          }</span></button>
        <button class="button" ?disabled=${!visible.length} @click=${() => copyText(this.#lines(), this.#app.notices)}>
          ${icon('copy')}<span>${t('copy')}</span></button>
        <button class="button" ?disabled=${!visible.length} @click=${() => this.#save()}>
          ${icon('backups')}<span>${t('saveLines')}</span></button>
        <button class="button" ?disabled=${!this.#total} @click=${() => {
          this.#clear();
          this.#app.draw();
        }}>${icon('trash')}<span>${t('clear')}</span></button>
      </div>
      <section class="panel watch-panel" aria-label=${t('changes')}>
        <div id="watch-list" class="watch-list" tabindex="0" role="log" aria-live="off" aria-label=${t('changes')}></div>
        ${visible.length ? nothing : empty(this.#filter ? t('nothingFound') : t('waiting'))}
      </section>
      <p class="muted foot">${t('changesSeen', number(this.#total))}${
        this.#leftOut ? ` · ${t('leftOut', number(this.#leftOut))}` : ''
      } · ${t('oneWrite')}</p>`;
  }

  #save() {
    saveFile(`${this.#app.database}-changes.jsonl`, this.#lines(), 'application/jsonl');
  }

  #row({ at, key, version, value, length }) {
    return html`<div class="watch-row"><span class="muted">${time(at, { withDate: false })}</span>
      <span class="badge ${version === null ? 'bad' : ''}">${version === null ? t('removedShort') : `v${version}`}</span>
      <b class="watch-key">${key}</b><code class="watch-value">${value.slice(0, 500)}${length > value.length ? '…' : ''}</code></div>`;
  }
}
