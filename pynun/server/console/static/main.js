// The console: logs in, shows one screen at a time, and keeps the connection.
import { html, nothing, render } from './lit-html.js';
import { ask, Connection, logIn } from './connection.js';
import { Audit } from './audit.js';
import { Backups } from './backups.js';
import { Cluster } from './cluster.js';
import { Conflicts } from './conflicts.js';
import { Databases } from './databases.js';
import { Keys } from './keys.js';
import { Overview } from './overview.js';
import { Rooms } from './rooms.js';
import { Sessions } from './sessions.js';
import { Settings } from './settings.js';
import { Users } from './users.js';
import { Watch } from './watch.js';
import { language, setLanguage, t } from './texts.js';
import { applyTheme, Dialogs, icon, Notices, preferences, reasonOf } from './ui.js';

const SCREENS = {
  overview: Overview,
  databases: Databases,
  keys: Keys,
  watch: Watch,
  users: Users,
  sessions: Sessions,
  rooms: Rooms,
  conflicts: Conflicts,
  backups: Backups,
  cluster: Cluster,
  audit: Audit,
  settings: Settings,
};
const FOR_USERS = ['keys', 'watch', 'rooms'];
const TOUCH_MS = 60_000;
const LOGIN_CHECK_MS = 30_000;
const HIDDEN_DRAW_MS = 1000;

class App {
  session = null;
  connection = null;
  isConnected = false;
  version = '';
  database = null;
  #screen = null;
  #screenName = '';
  #login = { isAdmin: true, user: '', secret: '', database: '', error: '', isBusy: false, reason: '' };
  #isMenuOpen = false;
  #isDrawing = false;
  #touchedAt = 0;

  constructor() {
    this.notices = new Notices(() => this.draw());
    this.dialogs = new Dialogs(() => this.draw());
  }

  async start() {
    applyTheme();
    addEventListener('hashchange', () => this.#route());
    for (const event of ['pointerdown', 'keydown']) addEventListener(event, () => this.#touch(), { passive: true });
    setInterval(() => this.#checkLogin(), LOGIN_CHECK_MS);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    try {
      this.#enter(await ask('session'));
    } catch (error) {
      this.#login.error = reasonOf(error);
      this.draw();
    }
  }

  // --- for the screens ---------------------------------------------------------------------------------------------

  get isAdmin() {
    return Boolean(this.session?.admin);
  }

  /** The names of the screens for who is logged in. */
  get #names() {
    if (!this.isAdmin) return FOR_USERS;
    return Object.keys(SCREENS).filter((name) => name !== 'cluster' || this.session.is_in_cluster);
  }

  /** Draws in the next frame, once for many calls. */
  draw() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    const draw = () => {
      this.#isDrawing = false;
      this.drawNow();
    };
    if (document.hidden) setTimeout(draw, HIDDEN_DRAW_MS);
    else requestAnimationFrame(draw);
  }

  drawNow() {
    document.documentElement.lang = language();
    render(this.session ? this.#shell() : this.#loginPage(), document.querySelector('#app'));
    this.dialogs.drawn();
    if (this.session) this.#screen?.drawn?.();
  }

  /** Goes to a screen. */
  go(screen, ...words) {
    location.hash = [screen, ...words.map(encodeURIComponent)].join('/');
  }

  /** Runs something for the user: says what went wrong. Returns whether it went well. */
  async try(action, done = '') {
    try {
      await action();
      if (done) this.notices.tell(done);
      return true;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  fail(error) {
    if (error.status === 401) this.#leave(t('sessionEnded'));
    else if (error.status !== -1) this.notices.tell(reasonOf(error), 'bad');
    if (error.message === 'Not auth') this.#checkLogin();
  }

  /** The names of the databases that can be chosen. */
  async databaseNames() {
    if (!this.isAdmin) return [this.session.database];
    const rows = await this.connection.rows('list-dbs', 'databases');
    return rows.map(({ name }) => name);
  }

  /** The database to begin with: the one chosen last, if it still exists. */
  async chosenDatabase(wanted) {
    const names = await this.databaseNames();
    const first = names.find((name) => name !== '$admin') ?? names[0] ?? null;
    this.database = [wanted, this.database, first].find((name) => names.includes(name)) ?? first;
    return { names, database: this.database };
  }

  // --- login -------------------------------------------------------------------------------------------------------

  #enter({ version, login }) {
    this.version = version;
    this.session = login;
    if (login) {
      this.#login = { ...this.#login, secret: '', error: '', reason: '', isBusy: false };
      this.connection = new Connection(Boolean(login.admin), (isOpen) => this.#connectionChanged(isOpen));
    }
    this.#screenName = '';
    this.#route();
    this.draw();
  }

  async #submitLogin(event) {
    event.preventDefault();
    const login = this.#login;
    if (login.isBusy) return;
    login.isBusy = true;
    login.error = '';
    this.draw();
    try {
      this.#enter(await logIn(login.user, login.secret, login.isAdmin ? '' : login.database));
    } catch (error) {
      login.error = error.status === 401 ? t('wrongLogin') : reasonOf(error);
      login.secret = '';
    }
    login.isBusy = false;
    this.drawNow();
    document.querySelector('#login-secret')?.focus();
  }

  #leave(reason = '') {
    this.#screen?.close?.();
    this.#screen = null;
    this.#screenName = '';
    this.connection?.close();
    this.connection = null;
    this.session = null;
    this.isConnected = false;
    this.dialogs.close();
    this.#login.reason = reason;
    this.draw();
  }

  async #logOut() {
    try {
      await ask('logout');
    } catch {
      // the server is gone, and with it the login
    }
    this.#leave();
  }

  async #checkLogin(used = '') {
    if (!this.session) return;
    try {
      const { login } = await ask('session', used ? { used } : {});
      if (!login) this.#leave(t('sessionEnded'));
    } catch (error) {
      if (error.status === 403) this.#leave(reasonOf(error)); // another node of the cluster has the console now
      // else not to be reached: the bar above says so
    }
  }

  #touch() {
    if (!this.session || Date.now() - this.#touchedAt < TOUCH_MS) return;
    this.#touchedAt = Date.now();
    this.#checkLogin('1');
  }

  #connectionChanged(isOpen) {
    this.isConnected = isOpen;
    if (isOpen) this.#screen?.connected?.();
    else this.#checkLogin();
    this.draw();
  }

  #loginPage() {
    const login = this.#login;
    const set = (name) => (event) => {
      login[name] = event.target.value;
    };
    const choose = (isAdmin) => () => {
      login.isAdmin = isAdmin;
      this.draw();
    };
    return html`<main class="login">
      <div class="login-card">
        <div class="brand"><img src="icon.svg" alt="" width="36" height="36" /><h1>${t('title')}</h1></div>
        <div class="tabs" role="group" aria-label=${t('loginAs')}>
          <button aria-pressed=${login.isAdmin} @click=${choose(true)}>${t('administrator')}</button>
          <button aria-pressed=${!login.isAdmin} @click=${choose(false)}>${t('databaseUser')}</button>
        </div>
        <form @submit=${(event) => this.#submitLogin(event)}>
          ${
            login.isAdmin
              ? nothing
              : html`<div class="field"><label for="login-database">${t('database')}</label>
                  <input id="login-database" required autocomplete="off" autocapitalize="off" spellcheck="false"
                    .value=${login.database} @input=${set('database')} /></div>`
          }
          <div class="field"><label for="login-user">${login.isAdmin ? t('name') : t('userOptional')}</label>
            <input id="login-user" ?required=${login.isAdmin} autocomplete="username" autocapitalize="off"
              spellcheck="false" .value=${login.user} @input=${set('user')} /></div>
          <div class="field"><label for="login-secret">${login.isAdmin ? t('password') : t('token')}</label>
            <input id="login-secret" type="password" required autocomplete="current-password" .value=${login.secret}
              @input=${set('secret')} /></div>
          <p class="error" role="alert">${login.error || login.reason}</p>
          <button class="button primary wide" ?disabled=${login.isBusy}>${login.isBusy ? t('busy') : t('logIn')}</button>
        </form>
        <div class="login-foot">${this.#languageChoice()}<span class="muted">${this.version}</span></div>
      </div>
      ${this.notices.view()}
    </main>`;
  }

  // --- screens -----------------------------------------------------------------------------------------------------

  #route() {
    if (!this.session) return;
    const [wanted, ...words] = location.hash.slice(1).split('/').map(decode);
    const allowed = this.#names;
    const name = allowed.includes(wanted) ? wanted : allowed[0];
    this.#isMenuOpen = false;
    if (name !== this.#screenName) {
      this.#screen?.close?.();
      this.#screenName = name;
      this.#screen = new SCREENS[name](this);
      document.title = `${t(name)} – ${t('title')}`;
    }
    this.#screen.open?.(...words);
    if (this.isConnected) this.#screen.connected?.();
    this.draw();
  }

  #shell() {
    const who = this.session.admin ?? `${this.session.user}@${this.session.database}`;
    return html`<a class="skip" href="#main" @click=${skip}>${t('skip')}</a>
      <div class="shell ${this.#isMenuOpen ? 'menu-open' : ''}">
        <header class="top">
          <button class="icon-button menu-button" aria-label=${t('menu')} aria-expanded=${this.#isMenuOpen}
            @click=${() => this.#toggleMenu()}>${icon(this.#isMenuOpen ? 'close' : 'menu')}</button>
          <span class="brand"><img src="icon.svg" alt="" width="26" height="26" /><b>${t('title')}</b></span>
          <span class="connection ${this.isConnected ? 'good' : 'bad'}" role="status"
            >${this.isConnected ? t('connected') : t('reconnecting')}</span>
          <span class="spacer"></span>
          <span class="who" title=${t('loggedInAs', who)}>${who}</span>
          <span class="preferences">${this.#preferences()}</span>
          <button class="button small" aria-label=${t('logOut')} @click=${() => this.#logOut()}>${icon('logout')}<span>${t('logOut')}</span></button>
        </header>
        <nav class="side" aria-label=${t('screens')}>
          ${this.#names.map(
            (name) =>
              html`<a href="#${name}" aria-current=${name === this.#screenName ? 'page' : 'false'}>
                ${icon(name)}<span>${t(name)}</span></a>`,
          )}
          <span class="preferences">${this.#preferences()}</span>
          <span class="version muted">Nun-db ${this.version}</span>
        </nav>
        <main id="main" tabindex="0" class="screen screen-${this.#screenName}">${this.#screen?.view() ?? nothing}</main>
      </div>
      ${this.dialogs.view()}${this.notices.view()}`;
  }

  /** Shown at the top, or in the menu where the top is narrow. */
  #preferences() {
    return html`<button class="button small" @click=${() => this.#switchTimes()} title=${t('timesHint')}>
        ${preferences.isUtc ? 'UTC' : t('local')}</button>
      <label class="theme"><span class="hidden">${t('theme')}</span>
        <select @change=${(event) => this.#setTheme(event)}>
          ${['system', 'light', 'dark'].map(
            (theme) => html`<option value=${theme} .selected=${theme === preferences.theme}>${t(theme)}</option>`,
          )}
        </select></label>
      ${this.#languageChoice()}`;
  }

  #languageChoice() {
    return html`<label class="language"><span class="hidden">${t('language')}</span>
      <select @change=${(event) => this.#setLanguage(event.target.value)}>
        <option value="en" .selected=${language() === 'en'}>English</option>
        <option value="de" .selected=${language() === 'de'}>Deutsch</option>
      </select></label>`;
  }

  #setLanguage(value) {
    setLanguage(value);
    this.#screen?.restyled?.();
    this.draw();
  }

  #setTheme(event) {
    preferences.theme = event.target.value;
    this.#screen?.restyled?.();
    this.draw();
  }

  #switchTimes() {
    preferences.isUtc = !preferences.isUtc;
    this.#screen?.restyled?.();
    this.draw();
  }

  #toggleMenu() {
    this.#isMenuOpen = !this.#isMenuOpen;
    this.draw();
  }
}

function skip(event) {
  event.preventDefault();
  document.querySelector('#main').focus();
}

function decode(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

new App().start();
