// The page's way to the server: pages that say what no command says, and a WebSocket that speaks the commands.

const RETRY_MS = [500, 1000, 2000, 4000];

class ServerError extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

/** Asks one of the console's own pages; returns its JSON. Raises ServerError. */
export async function ask(page, parameters = {}, header = '1') {
  const query = new URLSearchParams(parameters).toString();
  let response;
  try {
    response = await fetch(query ? `${page}?${query}` : page, {
      headers: { 'X-Nun-Console': header },
      cache: 'no-store',
    });
  } catch {
    throw new ServerError('', -1);
  }
  const text = await response.text();
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    throw new ServerError(text.trim() || `HTTP ${response.status}`, response.status);
  }
  if (!response.ok) throw new ServerError(told.error ?? text, response.status);
  return told;
}

/** Logs in; `database` is empty for administrators. Returns the session. Raises ServerError. */
export function logIn(user, secret, database) {
  const bytes = new TextEncoder().encode(JSON.stringify({ user, secret, database }));
  const encoded = btoa(String.fromCharCode(...bytes));
  return ask('login', {}, encoded.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', ''));
}

/** A WebSocket that runs commands in order, one reply each, and goes on by itself when it was lost. */
export class Connection {
  #socket = null;
  #waiting = [];
  #database = null;
  #follower = null;
  #tries = 0;
  #timer = null;
  #isClosed = false;
  #isAdmin;
  #onChange;

  /** Calls `onChange(isOpen)`; `isAdmin` tells whether databases are opened, or there is only one. */
  constructor(isAdmin, onChange) {
    this.#isAdmin = isAdmin;
    this.#onChange = onChange;
    this.isOpen = false;
    this.#connect();
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  /** Runs a command; returns its own messages. Raises ServerError. */
  command(text) {
    if (!this.isOpen) return Promise.reject(new ServerError('', -1));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, messages: [] });
      this.#socket.send(text);
    });
  }

  /** Runs a command in a database. */
  inDatabase(database, text) {
    if (this.#isAdmin && this.#database !== database) {
      this.#database = database;
      this.command(`open-db ${database}`).catch(() => {
        if (this.#database === database) this.#database = null;
      });
    }
    return this.command(text);
  }

  /** Runs a command that replies one word and JSON. */
  async json(text, database = null) {
    const messages = await (database === null ? this.command(text) : this.inDatabase(database, text));
    const message = messages[0] ?? '';
    return JSON.parse(message.slice(message.indexOf(' ') + 1));
  }

  /** All rows of a command that replies in pages; `onPage(rows)` is told of each. */
  async rows(command, name, database = null, onPage = null) {
    const found = [];
    let next = null;
    do {
      const page = await this.json(next === null ? command : `${command} ${next}`, database);
      if (onPage) onPage(page[name], page);
      else found.push(...page[name]);
      next = page.next;
    } while (next !== null);
    return found;
  }

  /** Calls `onChanges(changes, leftOut)` with what changes in a database; ends what was followed before. */
  follow(database, pattern, onChanges) {
    this.#follower = { database, pattern, onChanges };
    this.#sendFollower();
  }

  unfollow() {
    this.#follower = null;
    this.command('console-unwatch').catch(() => {});
  }

  /** The database with this name has another one from now on, or is gone. */
  forget(database) {
    if (this.#database === database) this.#database = null;
  }

  #sendFollower() {
    const follower = this.#follower;
    if (follower) this.inDatabase(follower.database, `console-watch ${follower.pattern}`).catch(() => {});
  }

  #connect() {
    const url = new URL('socket', location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = '';
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.addEventListener('open', () => {
      this.isOpen = true;
      this.#tries = 0;
      this.#database = null;
      this.#onChange(true);
      this.#sendFollower();
    });
    socket.addEventListener('message', ({ data }) => this.#take(data));
    socket.addEventListener('close', () => this.#lose());
  }

  #lose() {
    this.isOpen = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(new ServerError('', -1));
    if (this.#isClosed) return;
    this.#onChange(false);
    this.#timer = setTimeout(() => this.#connect(), RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)]);
    this.#tries += 1;
  }

  #take(text) {
    if (text.startsWith('console-changes ')) {
      const { database, changes, left_out: leftOut } = JSON.parse(text.slice('console-changes '.length));
      if (this.#follower?.database === database) this.#follower.onChanges(changes, leftOut);
      return;
    }
    const first = this.#waiting[0];
    if (!first) return;
    if (text === 'ok \n') {
      this.#waiting.shift();
      first.resolve(first.messages.map((message) => (message.endsWith('\n') ? message.slice(0, -1) : message)));
    } else if (text.startsWith('error ') && text.endsWith(' \n')) {
      this.#waiting.shift();
      first.reject(new ServerError(text.slice('error '.length, -2).trim()));
    } else {
      first.messages.push(text);
    }
  }
}
