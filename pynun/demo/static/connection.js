// A small client of the server (docs/protocol.md): logs in, watches keys, sets values, reconnects.
//
// Guarantees: it sends at most one message per animation frame, with the newest value of each key. A value is pending
// until its own event is back, and the newest pending one of each key is sent again after a reconnect. `onEvent` gets
// all events in the server's order, including those of its own changes.

const RECONNECT_MS = 1000;
const OPENING_MS_MAX = 5000;
const SILENCE_MS_MAX = 6000;
const WATCHDOG_MS = 1000;
const BUFFERED_BYTES_MAX = 64 * 1024;
const SENT_MAX = 512;

/** JSON that fits into a command: `;` and line breaks split commands, and clients read `^` as a space. */
function encode(value) {
  return JSON.stringify(value).replace(
    /[;^\s\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function decode(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export class Connection {
  #handlers;
  #watched;
  #me;
  #socket = null;
  #isReady = false;
  #isStopped = false;
  #queue = new Map();
  #unconfirmed = new Map();
  #sentAt = new Map();
  #asked = [];
  #lastNumber = Date.now();
  #isFlushPlanned = false;
  #waitingSince = null;
  #openingSince = null;
  #reconnectTimer = 0;

  /**
   * `me` identifies this page; `watched` are the keys to watch. Handlers: onState(state), onOpen() after each login,
   * onConfiguration(configuration), onEvent(key, value, from), onRoundTrip(milliseconds).
   */
  constructor(me, watched, handlers) {
    this.#me = me;
    this.#watched = watched;
    this.#handlers = handlers;
  }

  start() {
    setInterval(() => this.#watch(), WATCHDOG_MS);
    addEventListener('online', () => this.#hurry());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      this.#watch();
      this.#hurry();
    });
    this.#connect();
  }

  /** Disconnects for good, after sending a last value of a key. */
  stop(key, value) {
    this.#isStopped = true;
    if (this.#isReady) this.#socket.send(this.#setCommand(key, value));
    this.#socket?.close();
  }

  /** Undoes `stop` when the page comes back from the browser's cache. */
  resume() {
    this.#isStopped = false;
    this.#drop('lost');
    this.#hurry();
  }

  get isReady() {
    return this.#isReady;
  }

  /** Sets a key with the next frame, unless a newer value replaces it. */
  set(key, value) {
    this.#queue.set(key, value);
    this.#planFlush();
  }

  /** Whether a value of this key still waits for its event. */
  isPending(key) {
    return this.#queue.has(key) || this.#unconfirmed.has(key);
  }

  /** Gets a key's current value for `onValue`, or undefined if there is none. */
  get(key, onValue) {
    if (!this.#isReady) return;
    this.#asked.push(onValue);
    this.#send(`get-safe ${key}`);
  }

  #planFlush() {
    if (this.#isFlushPlanned || !this.#isReady) return;
    this.#isFlushPlanned = true;
    const flush = () => {
      this.#isFlushPlanned = false;
      this.#flush();
    };
    // A hidden page has no frames.
    if (document.hidden) setTimeout(flush, 0);
    else requestAnimationFrame(flush);
  }

  #flush() {
    if (!this.#isReady || this.#queue.size === 0) return;
    if (this.#socket.bufferedAmount > BUFFERED_BYTES_MAX) {
      this.#planFlush(); // the network is slower than the user: send only the newest values
      return;
    }
    const commands = [];
    for (const [key, value] of this.#queue) commands.push(this.#setCommand(key, value));
    this.#queue.clear();
    this.#send(commands.join(';'));
  }

  #setCommand(key, value) {
    this.#lastNumber += 1;
    const number = this.#lastNumber;
    this.#unconfirmed.set(key, { number, value });
    this.#sentAt.set(number, performance.now());
    if (this.#sentAt.size > SENT_MAX) this.#sentAt.delete(this.#sentAt.keys().next().value);
    return `set-safe ${key} -1 ${encode({ _id: number, from: this.#me, value })}`;
  }

  #send(text) {
    this.#waitingSince ??= performance.now();
    this.#socket.send(text);
  }

  async #connect() {
    this.#openingSince = performance.now();
    let configuration;
    try {
      // Each time, because a restarted server has another token.
      const response = await fetch('config.json', { cache: 'no-store', signal: AbortSignal.timeout(OPENING_MS_MAX) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      configuration = await response.json();
    } catch {
      this.#openingSince = null;
      this.#reconnectLater();
      return;
    }
    if (this.#isStopped || this.#socket) return;
    this.#handlers.onConfiguration(configuration);
    this.#openingSince = performance.now();
    const socket = new WebSocket(`ws://${location.hostname}:${configuration.websocketPort}/`);
    this.#socket = socket;
    socket.onopen = () => this.#open(configuration);
    socket.onmessage = (message) => this.#take(message.data);
    socket.onclose = () => this.#drop('lost');
  }

  #open({ database, user, token }) {
    this.#openingSince = null;
    this.#isReady = true;
    this.#asked = [];
    this.#send([`use-db ${database} ${user} ${token}`, ...this.#watched.map((key) => `watch ${key}`)].join(';'));
    for (const [key, { value }] of this.#unconfirmed) if (!this.#queue.has(key)) this.#queue.set(key, value);
    this.#unconfirmed.clear();
    this.#sentAt.clear();
    this.#handlers.onState('connected');
    this.#handlers.onOpen();
    this.#planFlush();
  }

  #take(message) {
    this.#waitingSince = null;
    const text = message.endsWith('\n') ? message.slice(0, -1) : message;
    const [word, first = ''] = text.split(' ', 2);
    const rest = text.slice(word.length + 1 + first.length + 1);
    switch (word) {
      case 'changed-version':
        this.#takeEvent(first, decode(rest.slice(rest.indexOf(' ') + 1)));
        break;
      case 'value-version':
        this.#asked.shift()?.(decode(rest));
        break;
      case 'error':
        this.#takeError();
        break;
      default: // ok; changed, which changed-version repeats; repeated errors
    }
  }

  #takeEvent(key, content) {
    if (content === undefined) return;
    if (typeof content !== 'object' || content === null) {
      this.#handlers.onEvent(key, content, null);
      return;
    }
    const isMine = content.from === this.#me;
    if (isMine && this.#sentAt.has(content._id)) {
      this.#handlers.onRoundTrip(performance.now() - this.#sentAt.get(content._id));
      this.#sentAt.delete(content._id);
    }
    if (isMine && this.#unconfirmed.get(key)?.number === content._id) this.#unconfirmed.delete(key);
    this.#handlers.onEvent(key, content.value, String(content.from));
  }

  /** Only a restarted server refuses what the page sends; a new login helps. */
  #takeError() {
    this.#drop('lost');
  }

  #drop(state) {
    const socket = this.#socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#socket = null;
    this.#isReady = false;
    this.#waitingSince = this.#openingSince = null;
    if (!this.#isStopped) {
      this.#handlers.onState(state);
      this.#reconnectLater();
    }
  }

  #reconnectLater() {
    clearTimeout(this.#reconnectTimer);
    if (this.#isStopped) return;
    this.#reconnectTimer = setTimeout(() => this.#connect(), RECONNECT_MS);
  }

  /** Reconnects now, because it may work again. */
  #hurry() {
    if (this.#isStopped || this.#socket || this.#openingSince !== null) return;
    clearTimeout(this.#reconnectTimer);
    this.#connect();
  }

  /** Gives up a connection whose other end vanished (a closed laptop, another network). */
  #watch() {
    const now = performance.now();
    const isSilent = this.#waitingSince !== null && now - this.#waitingSince > SILENCE_MS_MAX;
    const isStuck = this.#socket !== null && this.#openingSince !== null && now - this.#openingSince > OPENING_MS_MAX;
    if (isSilent || isStuck) this.#drop('lost');
  }
}
