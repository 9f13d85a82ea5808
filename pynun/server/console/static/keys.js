// The keys of a database as a tree, live, and one key's value with its changes since the page was opened.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { KeyTree } from './tree.js';
import { copyText, databaseChoice, empty, filterField, icon, LongList, number, saveFile, size, time } from './ui.js';
import { isJson, pretty } from './json.js';
import { exported, readLines, removeAll, setAll, withoutOwn } from './several.js';
import { checkKey, oneLine } from './words.js';

const ROW_HEIGHT = 32;
const FLASH_MS = 1500;
const HISTORY_MAX = 50;
const HISTORY_KEYS_MAX = 500; // a change has 2,000 characters at most: 100 MB in all
const SHOWN_CHARACTERS_MAX = 1_000_000;
const IN_CONFLICT = -2;
const NAMED_MAX = 5;

export class Keys {
  #app;
  #names = [];
  #tree = new KeyTree();
  #list;
  #isLoading = false;
  #loadNumber = 0;
  #flashes = new Map();
  #flashTimer = null;
  #focused = 0;
  #chosen = null;
  #value = null;
  #edited = null;
  #isJson = true;
  #history = new Map();
  #isReading = false;
  #wantsRead = false;
  #wantedKey = null;
  #wantedDatabase = null;
  #leftOut = 0;

  constructor(app) {
    this.#app = app;
    this.#list = new LongList((row, place) => this.#rowView(row, place), ROW_HEIGHT);
  }

  open(database = null, key = null) {
    this.#wantedDatabase = database;
    this.#wantedKey = key;
  }

  connected() {
    this.#load();
  }

  close() {
    clearTimeout(this.#flashTimer);
    this.#loadNumber += 1;
    this.#app.connection?.unfollow();
  }

  get #database() {
    return this.#app.database;
  }

  async #load() {
    const number_ = ++this.#loadNumber;
    const before = this.#database;
    this.#isLoading = true;
    try {
      const { names, database } = await this.#app.chosenDatabase(this.#wantedDatabase);
      if (number_ !== this.#loadNumber) return;
      this.#names = names;
      if (database !== before) this.#forget();
      this.#tree.clear();
      this.#app.draw();
      if (database === null) return;
      const { connection } = this.#app;
      connection.follow(database, '*', (changes, leftOut) => this.#take(changes, leftOut));
      await connection.rows('list-keys *', 'keys', database, (keys) => {
        if (number_ !== this.#loadNumber) return;
        this.#tree.addAll(keys);
        this.#app.draw();
      });
      if (number_ !== this.#loadNumber) return;
      if (this.#wantedKey) await this.#choose(this.#wantedKey);
      else if (this.#chosen) await this.#read();
      this.#wantedKey = null;
    } catch (error) {
      this.#app.fail(error);
    } finally {
      if (number_ === this.#loadNumber) this.#isLoading = false;
      this.#app.draw();
    }
  }

  #forget() {
    this.#chosen = this.#value = this.#edited = null;
    this.#history.clear();
    this.#flashes.clear();
    this.#leftOut = 0;
  }

  // --- what changes ------------------------------------------------------------------------------------------------

  #take(changes, leftOut) {
    const now = Date.now();
    this.#leftOut += leftOut;
    for (const [key, version, text, length] of changes) {
      if (version === null) this.#tree.remove(key);
      else this.#tree.add(key);
      this.#flashes.set(key, now);
      this.#note(key, { at: now, version, text, length });
      if (key === this.#chosen) this.#chosenChanged(version, text, length);
    }
    if (this.#flashTimer === null) {
      this.#flashTimer = setTimeout(() => this.#endFlashes(), FLASH_MS);
    }
    this.#app.draw();
  }

  #endFlashes() {
    const oldest = Date.now() - FLASH_MS;
    for (const [key, at] of this.#flashes) if (at <= oldest) this.#flashes.delete(key);
    this.#flashTimer = this.#flashes.size ? setTimeout(() => this.#endFlashes(), FLASH_MS / 2) : null;
    this.#app.draw();
  }

  #note(key, change) {
    const changes = this.#history.get(key) ?? [];
    changes.unshift(change);
    changes.length = Math.min(changes.length, HISTORY_MAX);
    this.#history.delete(key);
    this.#history.set(key, changes);
    if (this.#history.size > HISTORY_KEYS_MAX) this.#history.delete(this.#history.keys().next().value);
  }

  #chosenChanged(version, text, length) {
    if (version === null) this.#value = { version: null, text: '', isThere: false };
    else if (text.length < length) this.#read();
    else this.#value = { version, text, isThere: true };
  }

  // --- one key -----------------------------------------------------------------------------------------------------

  async #choose(key) {
    this.#chosen = key;
    this.#edited = null;
    this.#value = null;
    this.#app.draw();
    await this.#read();
  }

  /** Reads the chosen key; once more if that is asked for meanwhile, however often. */
  async #read() {
    this.#wantsRead = true;
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#wantsRead && this.#chosen !== null) {
      this.#wantsRead = false;
      await this.#readOnce(this.#chosen);
    }
    this.#isReading = false;
  }

  async #readOnce(key) {
    try {
      const [message = ''] = await this.#app.connection.inDatabase(this.#database, `get-safe ${key}`);
      if (key !== this.#chosen) return;
      const [, version, text] = /^value-version (-?\d+) ([^]*)$/.exec(message) ?? [];
      const isThere = !(text === '<Empty>' && version === '1') || this.#tree.has(key);
      this.#value = { version: Number(version), text: text ?? '', isThere };
    } catch (error) {
      this.#value = { version: null, text: '', isThere: false, reason: error.message };
      if (error.message !== 'permission denied') this.#app.fail(error);
    }
    this.#app.draw();
  }

  #isSecret(key) {
    return key === '$$token' || key.startsWith('$$user_');
  }

  #edit() {
    const { text, version } = this.#value;
    this.#edited = { text: this.#isJson ? pretty(text) : text, version };
    this.#app.draw();
  }

  async #save() {
    const { text, version } = this.#edited;
    const value = oneLine(text);
    const key = this.#chosen;
    const current = this.#value;
    const save = async (given) => {
      await this.#app.connection.inDatabase(this.#database, `set-safe ${key} ${given} ${value}`);
      this.#edited = null;
      this.#app.notices.tell(t('saved', key));
    };
    if (current.version !== version) {
      this.#app.dialogs.open({
        title: t('changedMeanwhile', key),
        body: html`<p>${t('changedNote')}</p><pre class="value-text">${current.text.slice(0, 2000)}</pre>`,
        action: t('overwrite'),
        isDangerous: true,
        onSubmit: () => save(this.#value.version ?? -1),
      });
      return;
    }
    await this.#app.try(() => save(version ?? -1));
    this.#app.draw();
  }

  #create() {
    this.#app.dialogs.open({
      title: t('newKey'),
      action: t('create'),
      fields: [
        { name: 'key', label: t('key') },
        { name: 'value', label: t('value'), rows: 6, optional: true },
      ],
      onSubmit: async ({ key, value }) => {
        checkKey(key);
        if (this.#tree.has(key)) throw new Error(t('keyExists'));
        await this.#app.connection.inDatabase(this.#database, `set ${key} ${oneLine(value)}`);
        this.#tree.add(key);
        await this.#choose(key);
      },
    });
  }

  #remove() {
    const key = this.#chosen;
    this.#app.dialogs.open({
      title: t('removeKey', key),
      action: t('remove'),
      isDangerous: true,
      onSubmit: async () => {
        await this.#app.connection.inDatabase(this.#database, `remove ${key}`);
        this.#app.notices.tell(t('removed', key));
      },
    });
  }

  #increment() {
    const key = this.#chosen;
    this.#app.dialogs.open({
      title: t('incrementKey', key),
      action: t('increment'),
      fields: [{ name: 'by', label: t('by'), value: '1', type: 'number' }],
      onSubmit: ({ by }) => this.#app.connection.inDatabase(this.#database, `increment ${key} ${by}`),
    });
  }

  // --- several keys ------------------------------------------------------------------------------------------------

  /** Saves the keys that are found as a file. */
  #export() {
    const { connection } = this.#app;
    const database = this.#database;
    return this.#app.try(async () => {
      const rows = this.#app.isAdmin ? await connection.rows('list-dbs', 'databases') : [];
      const strategy = rows.find(({ name }) => name === database)?.strategy ?? 'none';
      const keys = withoutOwn(this.#tree.found);
      if (!keys.length) throw new Error(t('onlyOwn'));
      const text = await exported(connection, database, strategy, keys, (key) => this.#tree.has(key));
      saveFile(`${database}.jsonl`, text, 'application/jsonl');
    });
  }

  async #import(event) {
    const [file] = event.target.files;
    event.target.value = '';
    await this.#app.try(async () => {
      const values = readLines(await file.text());
      const replaced = [...values.keys()].filter((key) => this.#tree.has(key)).length;
      const database = this.#database;
      this.#app.dialogs.open({
        title: t('importInto', database),
        body: html`<p>${t('importNote', number(values.size), number(replaced))}</p>`,
        action: t('import'),
        isDangerous: replaced > 0,
        onSubmit: async () => {
          await setAll(this.#app.connection, database, values);
          this.#app.notices.tell(t('imported', number(values.size)));
        },
      });
    });
  }

  #removeFound() {
    const keys = withoutOwn(this.#tree.found);
    if (!keys.length) {
      this.#app.notices.tell(t('onlyOwn'), 'bad');
      return;
    }
    const count = String(keys.length);
    const database = this.#database;
    this.#app.dialogs.open({
      title: t('removeFound', number(keys.length), database),
      body: html`<ul class="plain-list">${keys.slice(0, NAMED_MAX).map((key) => html`<li><code>${key}</code></li>`)}</ul>
        ${keys.length > NAMED_MAX ? html`<p class="muted">${t('andMore', number(keys.length - NAMED_MAX))}</p>` : nothing}`,
      action: t('remove'),
      isDangerous: true,
      fields: [{ name: 'count', label: t('typeName', count), mustBe: count }],
      onSubmit: async () => {
        await removeAll(this.#app.connection, database, keys);
        this.#app.notices.tell(t('removedFound', number(keys.length)));
      },
    });
  }

  // --- the tree ----------------------------------------------------------------------------------------------------

  #pick(row) {
    if (row.prefix !== undefined) this.#tree.toggle(row.prefix);
    else this.#choose(row.key);
    this.#app.draw();
  }

  #onTreeKey(event) {
    const { rows } = this.#tree;
    const row = rows[this.#focused];
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      this.#focused = Math.max(0, Math.min(rows.length - 1, this.#focused + moves[event.key]));
      this.#list.show(this.#focused);
    } else if (event.key === 'ArrowRight' && row?.prefix !== undefined) {
      if (row.isExpanded) this.#focused += 1;
      else this.#tree.toggle(row.prefix, true);
    } else if (event.key === 'ArrowLeft' && row) {
      if (row.prefix !== undefined && row.isExpanded) this.#tree.toggle(row.prefix, false);
      else this.#focused = parentOf(rows, this.#focused);
      this.#list.show(this.#focused);
    } else if ((event.key === 'Enter' || event.key === ' ') && row) {
      this.#pick(row);
    } else {
      return;
    }
    event.preventDefault();
    this.#app.draw();
  }

  #rowView(row, place) {
    const isGroup = row.prefix !== undefined;
    const isChosen = !isGroup && row.key === this.#chosen;
    const hasChanged = isGroup ? this.#hasChangedBelow(row) : this.#flashes.has(row.key);
    const classes = ['tree-row', isChosen && 'chosen', hasChanged && 'flash', place === this.#focused && 'focused'];
    return html`<div id="key-${place}" class=${classes.filter(Boolean).join(' ')} role="treeitem"
      aria-level=${row.level} aria-selected=${isChosen} aria-expanded=${isGroup ? String(row.isExpanded) : nothing}
      data-level=${Math.min(row.level, 8)} @click=${() => {
        this.#focused = place;
        this.#pick(row);
      }}>
      ${isGroup ? icon(row.isExpanded ? 'down' : 'right') : html`<span class="dot"></span>`}
      <span class="tree-label">${row.label}</span>${isGroup ? html`<span class="count">${number(row.count)}</span>` : nothing}
    </div>`;
  }

  #hasChangedBelow(row) {
    if (row.isExpanded) return false;
    for (const key of this.#flashes.keys()) if (key.startsWith(row.prefix)) return true;
    return false;
  }

  drawn() {
    const element = document.querySelector('#key-tree');
    if (element) this.#list.draw(element, this.#tree.rows);
  }

  // --- the screen --------------------------------------------------------------------------------------------------

  view() {
    const { rows } = this.#tree;
    return html`<div class="head"><h1>${t('keys')}</h1>
        ${databaseChoice(this.#names, this.#database, (name) => this.#app.go('keys', name))}
        <button class="button primary" ?disabled=${this.#database === null} @click=${() => this.#create()}>
          ${icon('plus')}<span>${t('newKey')}</span></button></div>
      <div class="split ${this.#chosen === null ? '' : 'has-chosen'}">
        <section class="panel tree-panel" aria-label=${t('keys')}>
          ${filterField(
            this.#tree.filter,
            (text) => {
              this.#tree.filter = text;
              this.#focused = 0;
              this.#app.draw();
            },
            t('searchKeys'),
          )}
          <div id="key-tree" class="tree" role="tree" tabindex="0" aria-label=${t('keyTree')}
            aria-activedescendant=${rows.length ? `key-${this.#focused}` : nothing}
            @keydown=${(event) => this.#onTreeKey(event)}></div>
          <p class="muted foot" role="status">${
            this.#tree.filter
              ? t('keysFound', number(rows.length), number(this.#tree.size))
              : t('keysCount', number(this.#tree.size))
          }${this.#isLoading ? ` · ${t('loading')}` : ''}${this.#leftOut ? ` · ${t('leftOut', number(this.#leftOut))}` : ''}</p>
          ${this.#severalView(rows)}
        </section>
        <section class="panel value-panel" aria-label=${t('value')}>${
          this.#chosen === null ? empty(t('chooseKey')) : this.#valueView()
        }</section>
      </div>`;
  }

  /** What can be done with the keys that are found. */
  #severalView(rows) {
    const isReady = rows.length > 0 && !this.#isLoading;
    return html`<div class="tools" role="group" aria-label=${t('several')}>
      <button class="button small" ?disabled=${!isReady} @click=${() => this.#export()}>${t('export')}</button>
      <label class="button small">${t('import')}<input class="hidden" type="file" accept=".jsonl,.json,.txt"
        ?disabled=${this.#database === null} @change=${(event) => this.#import(event)} /></label>
      <button class="button small danger-text" ?disabled=${!isReady} @click=${() => this.#removeFound()}>
        ${t('removeThese')}</button></div>`;
  }

  #valueView() {
    const value = this.#value;
    const key = this.#chosen;
    return html`<div class="value-head">
        <button class="icon-button back" aria-label=${t('back')} @click=${() => {
          this.#chosen = null;
          this.#app.draw();
        }}>${icon('close')}</button>
        <h2 class="key-name">${key}</h2>
        ${
          value?.isThere
            ? html`<span class="badge" title=${t('version')}>v${value.version}</span>
              <span class="muted">${size(new TextEncoder().encode(value.text).length)}</span>`
            : nothing
        }
        ${value?.version === IN_CONFLICT ? html`<a class="badge bad" href="#conflicts">${t('inConflict')}</a>` : nothing}
      </div>
      ${value === null ? html`<p class="muted">${t('loading')}</p>` : this.#valueBody(key, value)}
      ${this.#historyView(key)}`;
  }

  #valueBody(key, value) {
    if (value.reason) return html`<p class="error">${value.reason}</p>`;
    if (!value.isThere) return html`<p class="muted">${t('noSuchKey')}</p>`;
    if (this.#isSecret(key)) return html`<p class="muted">${t('secretNote')}</p>`;
    if (this.#edited) return this.#editor();
    const isTooLong = value.text.length > SHOWN_CHARACTERS_MAX;
    const shown = isTooLong ? value.text.slice(0, SHOWN_CHARACTERS_MAX) : value.text;
    const isPretty = this.#isJson && isJson(value.text);
    return html`<div class="tools">
        <div class="tabs" role="group" aria-label=${t('view')}>
          <button aria-pressed=${this.#isJson} @click=${() => this.#show(true)}>JSON</button>
          <button aria-pressed=${!this.#isJson} @click=${() => this.#show(false)}>${t('text')}</button>
        </div><span class="spacer"></span>
        <button class="button small" @click=${() => copyText(value.text, this.#app.notices)}>${icon('copy')}<span>${t('copy')}</span></button>
        ${
          key === '$connections'
            ? nothing
            : html`<button class="button small" ?disabled=${isTooLong} @click=${() => this.#edit()}>${icon('edit')}<span>${t('edit')}</span></button>
              ${/^-?\d+$/.test(value.text) ? html`<button class="button small" @click=${() => this.#increment()}>${icon('plus')}<span>${t('increment')}</span></button>` : nothing}
              <button class="button small danger-text" @click=${() => this.#remove()}>${icon('trash')}<span>${t('remove')}</span></button>`
        }
      </div>
      <pre class="value-text ${this.#flashes.has(key) ? 'flash' : ''}" tabindex="0" aria-label=${t('value')}>${isPretty ? pretty(shown) : shown}</pre>
      ${this.#isJson && !isPretty ? html`<p class="muted">${t('noJson')}</p>` : nothing}
      ${isTooLong ? html`<p class="muted">${t('tooLong')}</p>` : nothing}`;
  }

  #show(isJson) {
    this.#isJson = isJson;
    this.#app.draw();
  }

  #editor() {
    const edited = this.#edited;
    const hasChanged = this.#value.version !== edited.version;
    const looksJson = /^\s*[[{]/.test(edited.text);
    return html`<form @submit=${(event) => {
        event.preventDefault();
        this.#save();
      }}>
        <label class="hidden" for="value-editor">${t('value')}</label>
        <textarea id="value-editor" class="value-editor" spellcheck="false" .value=${edited.text} @input=${(event) => {
          edited.text = event.target.value;
          this.#app.draw();
        }}></textarea>
        ${hasChanged ? html`<p class="error" role="alert">${t('changedMeanwhile', this.#chosen)}</p>` : nothing}
        ${looksJson && !isJson(edited.text) ? html`<p class="warn-text">${t('invalidJson')}</p>` : nothing}
        <p class="muted">${t('newlinesNote')}</p>
        <div class="actions">
          <button type="button" class="button" @click=${() => {
            this.#edited = null;
            this.#app.draw();
          }}>${t('cancel')}</button>
          <button class="button primary">${t('saveAs', edited.version === null ? '' : edited.version + 1)}</button>
        </div></form>`;
  }

  #historyView(key) {
    const changes = this.#history.get(key) ?? [];
    if (!changes.length) return html`<p class="muted history-note">${t('noHistory')}</p>`;
    return html`<h3>${t('history')}</h3><ol class="history">${changes.map(
      ({ at, version, text, length }) =>
        html`<li><span class="muted">${time(at, { withDate: false })}</span>
          <span class="badge">${version === null ? t('removedShort') : `v${version}`}</span>
          <code>${text.slice(0, 300)}${length > 300 ? '…' : ''}</code></li>`,
    )}</ol>`;
  }
}

function parentOf(rows, place) {
  const { level } = rows[place];
  for (let before = place - 1; before >= 0; before -= 1) if (rows[before].level < level) return before;
  return place;
}
