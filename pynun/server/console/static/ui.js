// What all screens share: times, sizes, icons, dialogs, notices, long lists.
import { html, nothing, render, svg } from './lit-html.js';
import { language, t } from './texts.js';

// --- preferences, which only this browser keeps ------------------------------------------------------------------

export const preferences = {
  get theme() {
    return read('nun-console-theme', 'system');
  },
  set theme(value) {
    write('nun-console-theme', value);
    applyTheme();
  },
  get isUtc() {
    return read('nun-console-times', 'local') === 'utc';
  },
  set isUtc(value) {
    write('nun-console-times', value ? 'utc' : 'local');
  },
};

export function read(name, otherwise) {
  try {
    return localStorage.getItem(name) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function write(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // a browser that keeps nothing: the preference lasts as long as the page
  }
}

const DARK_MEDIA = { system: '(prefers-color-scheme: dark)', dark: 'all', light: 'not all' };

export function applyTheme() {
  document.querySelector('#dark').media = DARK_MEDIA[preferences.theme] ?? DARK_MEDIA.system;
}

// --- words for numbers and times ---------------------------------------------------------------------------------

/** A time, as text; `at` is milliseconds since 1970. */
export function time(at, { withDate = true } = {}) {
  if (!at) return '–';
  const options = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
  if (withDate) Object.assign(options, { year: 'numeric', month: '2-digit', day: '2-digit' });
  if (preferences.isUtc) options.timeZone = 'UTC';
  const text = new Intl.DateTimeFormat(language() === 'de' ? 'de-DE' : 'en-CA', options).format(at);
  return preferences.isUtc ? `${text} UTC` : text;
}

/** A <time> element: the text in the chosen zone, the other one as its title. */
export function timeTag(at) {
  if (!at) return '–';
  const date = new Date(at);
  const other = preferences.isUtc ? date.toLocaleString(language()) : `${date.toISOString().slice(0, 19)}Z`;
  return html`<time datetime=${date.toISOString()} title=${other}>${time(date.getTime())}</time>`;
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);
}

export function size(bytes) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let place = 0;
  while (value >= 1000 && place < units.length - 1) {
    value /= 1024;
    place += 1;
  }
  return `${number(value, place && value < 100 ? 1 : 0)} ${units[place]}`;
}

export function duration(seconds) {
  if (seconds < 90) return t('seconds', number(seconds));
  if (seconds < 5400) return t('minutes', number(seconds / 60));
  if (seconds < 48 * 3600) return t('hours', number(seconds / 3600));
  return t('days', number(seconds / 86400));
}

// --- icons (drawn here, 24 by 24) --------------------------------------------------------------------------------

const ICONS = {
  overview: 'M3 13h4l3-9 4 16 3-7h4',
  databases: 'M4 6c0-4 16-4 16 0v12c0 4-16 4-16 0zM4 6c0 4 16 4 16 0M4 12c0 4 16 4 16 0',
  keys: 'M9 14a5 5 0 1 1 4-3l8 0v4h-3v3h-3v-4',
  watch: 'M2 12c5-9 15-9 20 0-5 9-15 9-20 0zM9 12a3 3 0 1 0 6 0 3 3 0 1 0-6 0',
  users: 'M8 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM1 21c0-9 14-9 14 0M16 4a4 4 0 0 1 0 7M18 14c3 1 5 3 5 7',
  sessions: 'M3 4h18v12H3zM8 20h8M12 16v4',
  rooms: 'M4 21V3h10v18M14 6h6v15M2 21h20M10 12h0',
  audit: 'M6 2h9l4 4v16H6zM9 11h7M9 15h7M9 7h3',
  settings: 'M4 6h10M18 6h2M4 12h2M10 12h10M4 18h8M16 18h4M16 4v4M8 10v4M14 16v4',
  backups: 'M12 3v11M7 9l5 5 5-5M4 17v4h16v-4',
  conflicts: 'M12 3l10 18H2zM12 10v5M12 18v0',
  cluster: 'M9 3h6v5H9zM2 16h6v5H2zM16 16h6v5h-6zM12 8v4M5 16v-4h14v4',
  menu: 'M4 6h16M4 12h16M4 18h16',
  close: 'M5 5l14 14M19 5L5 19',
  plus: 'M12 5v14M5 12h14',
  refresh: 'M20 11a8 8 0 1 0-2 6M20 4v7h-7',
  right: 'M9 5l7 7-7 7',
  down: 'M5 9l7 7 7-7',
  copy: 'M9 9h11v12H9zM5 15H4V3h12v2',
  trash: 'M4 6h16M9 6V3h6v3M6 6l1 15h10l1-15',
  edit: 'M4 20h4L20 8l-4-4L4 16z',
  check: 'M4 13l5 5L20 6',
  warning: 'M12 3l10 18H2zM12 10v5M12 18v0',
  pause: 'M8 5v14M16 5v14',
  play: 'M7 4l13 8-13 8z',
  logout: 'M10 4H4v16h6M14 8l5 4-5 4M19 12H9',
};

export function icon(name) {
  return svg`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${ICONS[name]} /></svg>`;
}

// --- notices and dialogs -----------------------------------------------------------------------------------------

const NOTICE_MS = 6000;

export class Notices {
  #list = [];
  #draw;

  constructor(draw) {
    this.#draw = draw;
  }

  tell(text, kind = 'good') {
    const notice = { text, kind };
    this.#list = [...this.#list.slice(-3), notice];
    setTimeout(() => this.#drop(notice), kind === 'bad' ? 2 * NOTICE_MS : NOTICE_MS);
    this.#draw();
  }

  #drop(notice) {
    this.#list = this.#list.filter((one) => one !== notice);
    this.#draw();
  }

  view() {
    return html`<div class="notices" role="status" aria-live="polite">
      ${this.#list.map(
        (notice) =>
          html`<div class="notice ${notice.kind}">
            <span>${notice.text}</span>
            <button class="icon-button" aria-label=${t('close')} @click=${() => this.#drop(notice)}>
              ${icon('close')}
            </button>
          </div>`,
      )}
    </div>`;
  }
}

/** Words for what went wrong. */
export function reasonOf(error) {
  if (error.status === -1) return t('lost');
  return error.message || String(error);
}

/** One dialog at a time: a form with fields, or a question. */
export class Dialogs {
  #now = null;
  #opener = null;
  #draw;

  constructor(draw) {
    this.#draw = draw;
  }

  get isOpen() {
    return this.#now !== null;
  }

  /**
   * Asks for `fields` ({name, label, value, type, options, rows, hint, optional, mustBe}); `onSubmit(values)` may be
   * async and may raise: then the dialog stays, with the reason. `body` is a template above the fields. A field of type
   * `secret` can be shown and generated; one of type `checks` has the values of the options that are checked, joined.
   */
  open({ title, body = nothing, fields = [], action, isDangerous = false, onSubmit }) {
    this.#now = { title, body, fields, action, isDangerous, onSubmit, error: '', isBusy: false, values: {} };
    for (const field of fields) this.#now.values[field.name] = field.value ?? '';
    this.#opener = document.activeElement;
    this.#draw();
  }

  close() {
    this.#now = null;
    this.#draw();
  }

  /** Called after each drawing: what was drawn becomes modal; after it, the focus is where it was before. */
  drawn() {
    const dialog = document.querySelector('dialog.dialog');
    if (dialog && !dialog.open) {
      dialog.showModal();
      dialog.querySelector('input, select, textarea')?.focus();
    } else if (!dialog && this.#opener) {
      if (this.#opener.isConnected) this.#opener.focus();
      this.#opener = null;
    }
  }

  async #submit(event) {
    event.preventDefault();
    const now = this.#now;
    if (!now || now.isBusy || !this.#isComplete(now)) return;
    now.isBusy = true;
    now.error = '';
    this.#draw();
    try {
      await now.onSubmit(now.values);
      if (this.#now === now) this.#now = null;
    } catch (error) {
      now.error = reasonOf(error);
    }
    now.isBusy = false;
    this.#draw();
  }

  #isComplete(now) {
    return now.fields.every(({ name, mustBe, optional }) =>
      mustBe === undefined ? optional || now.values[name] !== '' : now.values[name] === mustBe,
    );
  }

  #field(now, field) {
    const { name, label, type = 'text', options, hint, rows } = field;
    const set = (event) => {
      now.values[name] = event.target.value;
      this.#draw();
    };
    const id = `field-${name}`;
    let input;
    if (type === 'checks') return this.#checks(now, field);
    if (type === 'secret') {
      input = this.#secret(now, name, id, set);
    } else if (options) {
      input = html`<select id=${id} @change=${set}>
        ${options.map(
          ({ value, text }) => html`<option value=${value} .selected=${value === now.values[name]}>${text}</option>`,
        )}
      </select>`;
    } else if (rows) {
      input = html`<textarea id=${id} rows=${rows} spellcheck="false" .value=${now.values[name]} @input=${set}></textarea>`;
    } else {
      input = html`<input id=${id} type=${type} autocomplete="off" spellcheck="false" autocapitalize="off"
        .value=${now.values[name]} @input=${set} />`;
    }
    return html`<div class="field"><label for=${id}>${label}</label>${input}${
      hint ? html`<p class="hint">${hint}</p>` : nothing
    }</div>`;
  }

  #secret(now, name, id, set) {
    const generate = () => {
      now.values[name] = newSecret();
      now.isShown = true;
      this.#draw();
    };
    const show = () => {
      now.isShown = !now.isShown;
      this.#draw();
    };
    return html`<div class="secret">
      <input id=${id} type=${now.isShown ? 'text' : 'password'} autocomplete="new-password" spellcheck="false"
        autocapitalize="off" .value=${now.values[name]} @input=${set} />
      <button type="button" class="button" aria-pressed=${Boolean(now.isShown)} @click=${show}>${t('show')}</button>
      <button type="button" class="button" @click=${generate}>${t('generate')}</button></div>`;
  }

  #checks(now, { name, label, options }) {
    const set = (value, isChecked) => {
      const chosen = options.filter((one) => (one.value === value ? isChecked : now.values[name].includes(one.value)));
      now.values[name] = chosen.map((one) => one.value).join('');
      this.#draw();
    };
    return html`<fieldset class="field checks"><legend>${label}</legend>
      ${options.map(
        ({ value, text }) => html`<label class="check"><input type="checkbox" .checked=${now.values[name].includes(value)}
          @change=${(event) => set(value, event.target.checked)} /> ${text}</label>`,
      )}</fieldset>`;
  }

  view() {
    const now = this.#now;
    if (!now) return nothing;
    return html`<dialog class="dialog" aria-labelledby="dialog-title" @cancel=${() => this.close()}>
      <form method="dialog" @submit=${(event) => this.#submit(event)}>
        <h2 id="dialog-title">${now.title}</h2>
        ${now.body}${now.fields.map((field) => this.#field(now, field))}
        <p class="error" role="alert">${now.error}</p>
        <div class="actions">
          <button type="button" class="button" @click=${() => this.close()}>${t('cancel')}</button>
          <button type="submit" class="button ${now.isDangerous ? 'danger' : 'primary'}"
            ?disabled=${now.isBusy || !this.#isComplete(now)}>${now.isBusy ? t('busy') : now.action}</button>
        </div>
      </form>
    </dialog>`;
  }
}

// --- looking again and again -------------------------------------------------------------------------------------

/** Looks at something while a screen is open: again after a rest, and never twice at once. */
export class Polling {
  #app;
  #look;
  #restMs;
  #timer = null;
  #last = Promise.resolve();
  #isClosed = false;

  /** `look()` may be async, may raise, and may return how long to rest after it. */
  constructor(app, restMs, look) {
    this.#app = app;
    this.#restMs = restMs;
    this.#look = look;
  }

  /** Looks now, or after the look under way; resolves when that is done. */
  now() {
    this.#last = this.#last.then(() => this.#lookOnce());
    return this.#last;
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #lookOnce() {
    clearTimeout(this.#timer);
    if (this.#isClosed || !this.#app.isConnected) return; // the screen looks when it is connected again
    let restMs;
    try {
      restMs = await this.#look();
    } catch (error) {
      this.#app.fail(error);
    }
    this.#app.draw();
    if (!this.#isClosed) this.#timer = setTimeout(() => this.now(), restMs ?? this.#restMs);
  }
}

// --- long lists --------------------------------------------------------------------------------------------------

/** Draws only the visible ones of many rows of the same height. */
export class LongList {
  #element = null;
  #inside = null;
  #rows = [];
  #row;
  #height;

  /** `row(item, place)` is the template of one row, `height` its CSS pixels. */
  constructor(row, height) {
    this.#row = row;
    this.#height = height;
  }

  /** Draws into an element that scrolls; keeps its place. */
  draw(element, rows) {
    this.#rows = rows;
    if (this.#element !== element) {
      this.#element = element;
      this.#inside = document.createElement('div');
      this.#inside.className = 'long-list';
      element.replaceChildren(this.#inside);
      element.addEventListener('scroll', () => this.#drawVisible(), { passive: true });
      new ResizeObserver(() => this.#drawVisible()).observe(element);
    }
    this.#inside.style.height = `${rows.length * this.#height}px`;
    this.#drawVisible();
  }

  /** Scrolls until the row is visible. */
  show(place) {
    const element = this.#element;
    if (!element) return;
    const top = place * this.#height;
    if (top < element.scrollTop) element.scrollTop = top;
    const bottom = top + this.#height - element.clientHeight;
    if (bottom > element.scrollTop) element.scrollTop = bottom;
    this.#drawVisible();
  }

  #drawVisible() {
    const { scrollTop, clientHeight } = this.#element;
    const first = Math.max(0, Math.floor(scrollTop / this.#height) - 10);
    const last = Math.min(this.#rows.length, Math.ceil((scrollTop + clientHeight) / this.#height) + 10);
    const visible = this.#rows.slice(first, last);
    render(html`${visible.map((item, place) => this.#row(item, first + place))}`, this.#inside);
    let place = first;
    for (const child of this.#inside.children) {
      child.style.transform = `translateY(${place * this.#height}px)`;
      place += 1;
    }
  }
}

// --- small things ------------------------------------------------------------------------------------------------

/** A random password or token of 32 characters, with 192 bits. */
function newSecret() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_');
}

export async function copyText(text, notices) {
  try {
    await navigator.clipboard.writeText(text);
    notices.tell(t('copied'));
  } catch {
    notices.tell(t('notCopied'), 'bad');
  }
}

export function saveFile(name, text, type) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function empty(text) {
  return html`<p class="empty">${text}</p>`;
}

/** A field for a text that is looked for. */
export function filterField(text, onInput, label = t('filter')) {
  return html`<label class="inline-field grow"><span class="hidden">${label}</span>
    <input type="search" placeholder=${label} spellcheck="false" autocapitalize="off" .value=${text}
      @input=${(event) => onInput(event.target.value)} /></label>`;
}

/** A choice of databases. */
export function databaseChoice(names, chosen, onChoose) {
  return html`<label class="inline-field"><span>${t('database')}</span>
    <select class="database-choice" @change=${(event) => onChoose(event.target.value)}>
      ${names.map((name) => html`<option value=${name} .selected=${name === chosen}>${name}</option>`)}
    </select></label>`;
}
