// Who sits here: a name, and a user with a token of their own or the guest of the configuration. Kept for the tab
// only, and never in an address.

import { cleanName } from './names.js';
import { say } from './texts.js';

const KEPT_AS = 'nun-db-sync';

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT_AS)) ?? {};
  } catch {
    return {};
  }
}

function keep(values) {
  try {
    sessionStorage.setItem(KEPT_AS, JSON.stringify({ ...read(), ...values }));
  } catch {
    // Then it lasts as long as the page.
  }
}

export class Identity {
  #options;
  #kept;
  #guestName;

  constructor(options) {
    this.#options = options;
    this.#kept = read();
    this.#guestName =
      cleanName(options.name) || say(options.texts, 'guest', { number: 100 + Math.floor(Math.random() * 900) });
    this.id = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    /** The id that this tab had before it was loaded again. */
    this.formerId = typeof this.#kept.id === 'string' ? this.#kept.id : null;
    keep({ id: this.id });
  }

  get name() {
    return cleanName(this.#kept.name) || this.#guestName;
  }

  get isSignedIn() {
    return Boolean(this.#kept.token);
  }

  /** What the server is told. */
  get login() {
    const { db, user, token } = this.#options;
    return this.isSignedIn ? { db, user: this.#kept.name, token: this.#kept.token } : { db, user, token };
  }

  /** Without a token, only the guest's name changes. */
  signIn(name, token) {
    // No name or token of the server has any of these; in a command they would end it.
    const word = (text) => text.replace(/[\s;]/g, '');
    this.#kept = { name: token ? word(name) : name, token: word(token) };
    keep(this.#kept);
  }

  signOut() {
    this.#kept = { name: '', token: '' };
    keep(this.#kept);
  }
}
