// A connection to the server (docs/protocol.md): logs in, watches keys, sets values, comes back by itself.
//
// At most 60 changes leave in any second (a bucket of tokens, looked at once a frame), in one message a frame unless it
// is long, with the newest value of each key. Every command's own reply is known by its order.

const CHANGES_A_SECOND = 50;
const CHANGES_AT_ONCE = 10;
const OWNER_LOST = 'the node that owns the data is gone';
const RECONNECT_MS = 1000;
const OPENING_MS_MAX = 8000;
const SILENCE_MS_MAX = 6000;
const WATCHDOG_MS = 1000;
const HEARTBEAT_MS = 5000;
const BUFFERED_BYTES_MAX = 64 * 1024;
const MESSAGE_BYTES_MAX = 32 * 1024;

/** JSON that fits into a command: `;` and line breaks split commands, and old clients read `^` as a space. */
export function encode(value) {
  return JSON.stringify(value).replace(
    /[;^\s\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function decode(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export class Connection {
  #url;
  #login;
  #handlers;
  #socket = null;
  #isReady = false;
  #isStopped = true;
  #watched = new Set();
  #queue = new Map();
  #removals = new Set();
  #sentAt = new Map();
  #asked = [];
  #answer = null;
  #tokens = CHANGES_AT_ONCE;
  #tokensAt = 0;
  #isFlushPlanned = false;
  #waitingSince = null;
  #openingSince = null;
  #heardAt = 0;
  #reconnectTimer = 0;
  #watchdog = 0;
  #watchedAt = 0;

  /**
   * `login` is {db, user, token}. Handlers: onState(state, detail) with connecting, connected, lost or refused;
   * onOpen() after each login; onEvent(key, text); onRemoved(key); onAnswer(key, error) after each change,
   * error null if it was made; onRoundTrip(milliseconds); isFrameDue(), whether `flush` will be called in this frame.
   */
  constructor(url, login, handlers) {
    this.#url = url;
    this.#login = login;
    this.#handlers = handlers;
    // A laptop may have been closed meanwhile, and its connection may be long gone.
    const look = () => {
      if (document.hidden || this.#isStopped) return;
      if (this.#isReady) this.#beat();
      else this.#hurry();
    };
    for (const type of ['online', 'pageshow', 'focus']) addEventListener(type, look);
    for (const type of ['visibilitychange', 'resume']) document.addEventListener(type, look);
  }

  get isReady() {
    return this.#isReady;
  }

  start() {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    this.#watchdog = setInterval(() => this.#watch(), WATCHDOG_MS);
    this.#connect();
  }

  /** Disconnects for good, or until `start`. What is queued is forgotten. */
  stop() {
    this.#isStopped = true;
    clearInterval(this.#watchdog);
    clearTimeout(this.#reconnectTimer);
    this.#queue.clear();
    this.#drop();
  }

  /** Logs in as somebody else, with a new connection. */
  signIn(login) {
    this.#login = login;
    this.stop();
    this.start();
  }

  /** Watches a key over all connections. */
  watch(key) {
    if (this.#watched.has(key)) return;
    this.#watched.add(key);
    if (this.#isReady) this.#send([{ text: `watch ${key}` }]);
  }

  unwatch(key) {
    if (this.#watched.delete(key) && this.#isReady) this.#send([{ text: `unwatch ${key}` }]);
  }

  /** Gets a key's text, for `onValue(text)`: undefined if the key is absent or denied. */
  get(key, onValue) {
    if (this.#isReady) this.#send([{ text: `get-safe ${key}`, onValue }]);
  }

  /** Lists the keys that begin so, for `onKeys`. */
  list(prefix, onKeys) {
    if (this.#isReady) this.#send([{ text: `keys ${prefix}*`, onKeys }]);
  }

  /** Removes a key now, or with the next connection. */
  remove(key) {
    if (this.#isReady) this.#send([{ text: `remove ${key}`, removes: key, onLost: () => this.remove(key) }]);
    else this.#removals.add(key);
  }

  /**
   * Sets a key with one of the next frames, unless a newer value replaces it. `make` returns the text when it leaves.
   * With `isEphemeral` the server removes the key when this connection ends. Of several that wait, the one with the
   * longest wait times `weight` leaves first. `onLost()` is called if nobody knows whether it was set, because another
   * node of a cluster goes on; without it, it is set again.
   */
  set(key, make, { isEphemeral = false, weight = 1, onLost = null } = {}) {
    const queuedAt = this.#queue.get(key)?.queuedAt ?? performance.now();
    const again = () => this.#queue.has(key) || this.set(key, make, { isEphemeral, weight });
    this.#queue.set(key, { make, isEphemeral, weight, queuedAt, onLost: onLost ?? again });
    this.#planFlush();
  }

  /** Forgets a value that has not left. */
  unset(key) {
    this.#queue.delete(key);
  }

  #planFlush() {
    if (this.#isFlushPlanned || !this.#isReady || this.#queue.size === 0) return;
    this.#isFlushPlanned = true;
    const flush = () => {
      this.#isFlushPlanned = false;
      if (!this.#handlers.isFrameDue()) this.flush();
    };
    // A hidden page has no frames.
    if (document.hidden) setTimeout(flush, 20);
    else requestAnimationFrame(flush);
  }

  /** Sends what waits: at the end of a frame, what was found in it. */
  flush() {
    if (!this.#isReady || this.#queue.size === 0) return;
    const now = performance.now();
    this.#tokens = Math.min(CHANGES_AT_ONCE, this.#tokens + ((now - this.#tokensAt) * CHANGES_A_SECOND) / 1000);
    this.#tokensAt = now;
    if (this.#tokens >= 1 && this.#socket.bufferedAmount < BUFFERED_BYTES_MAX) {
      const urgency = ([key, one]) => one.weight * (now - Math.max(this.#sentAt.get(key) ?? 0, now - 2000));
      const waiting = [...this.#queue].sort((one, other) => urgency(other) - urgency(one));
      const commands = [];
      for (const [key, { make, isEphemeral, onLost }] of waiting.slice(0, Math.floor(this.#tokens))) {
        this.#queue.delete(key);
        this.#sentAt.set(key, now);
        this.#tokens -= 1;
        const text = isEphemeral ? `set-ephemeral ${key} ${make()}` : `set-safe ${key} -1 ${make()}`;
        commands.push({ text, key, sentAt: now, onLost });
      }
      this.#send(commands);
    }
    this.#planFlush();
  }

  #send(commands) {
    if (commands.length === 0) return;
    this.#waitingSince ??= performance.now();
    this.#asked.push(...commands);
    let message = '';
    for (const { text } of commands) {
      if (message !== '' && message.length + text.length > MESSAGE_BYTES_MAX) {
        this.#socket.send(message);
        message = '';
      }
      message += message === '' ? text : `;${text}`;
    }
    this.#socket.send(message);
  }

  #beat() {
    this.#send([{ text: 'unwatch nothing', sentAt: performance.now() }]);
  }

  #connect() {
    this.#handlers.onState('connecting');
    this.#openingSince = performance.now();
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) {
      this.#openingSince = null;
      this.#isStopped = true;
      this.#handlers.onState('refused', error.message); // no address, or ws: from a page of https:
      return;
    }
    this.#socket = socket;
    socket.onopen = () => this.#open();
    socket.onmessage = ({ data }) => this.#take(String(data));
    socket.onclose = () => this.#lose();
  }

  #open() {
    const { db, user, token } = this.#login;
    for (const { removes } of this.#asked) if (removes !== undefined) this.#removals.add(removes);
    this.#asked = [];
    this.#answer = null;
    const onEnd = (error) => {
      this.#openingSince = null;
      if (error !== null) {
        this.#handlers.onState('refused', error);
        this.#isStopped = true;
        this.#drop();
        return;
      }
      this.#isReady = true;
      this.#tokensAt = performance.now();
      this.#send([
        ...[...this.#watched].map((key) => ({ text: `watch ${key}` })),
        ...[...this.#removals].map((key) => ({ text: `remove ${key}` })),
      ]);
      this.#removals.clear();
      this.#handlers.onState('connected');
      this.#handlers.onOpen();
      this.#planFlush();
    };
    this.#send([{ text: ['use-db', db, user, token].filter(Boolean).join(' '), onEnd }]);
  }

  #take(message) {
    this.#waitingSince = null;
    this.#heardAt = performance.now();
    if (message === 'ok \n') return this.#end(null);
    if (message.startsWith('error ') && message.endsWith(' \n')) return this.#end(message.slice(6).trim());
    const text = message.endsWith('\n') ? message.slice(0, -1) : message;
    const [word, first = ''] = text.split(' ', 2);
    const rest = text.slice(word.length + 1 + first.length + 1);
    if (word === 'changed-version') {
      this.#handlers.onEvent(first, rest.slice(rest.indexOf(' ') + 1));
    } else if (word === 'removed') this.#handlers.onRemoved(first);
    else if (word === 'value-version')
      this.#answer = { text: rest === '<Empty>' ? undefined : rest };
    else if (word === 'keys') this.#answer = { keys: text.slice(5).split(',').filter(Boolean) };
    // Else `changed`, which changed-version repeats, and what an error repeats.
  }

  /** The reply to the oldest command is complete. */
  #end(error) {
    const { key, sentAt, onLost, onValue, onKeys, onEnd } = this.#asked.shift() ?? {};
    const answer = this.#answer;
    this.#answer = null;
    if (error?.includes(OWNER_LOST)) onLost?.();
    else {
      if (sentAt !== undefined) this.#handlers.onRoundTrip(performance.now() - sentAt);
      if (key !== undefined) this.#handlers.onAnswer(key, error);
    }
    onValue?.(answer?.text);
    onKeys?.(answer?.keys ?? []);
    onEnd?.(error);
    if (this.#asked.length > 0) this.#waitingSince = performance.now();
  }

  #drop() {
    const socket = this.#socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#socket = null;
    this.#isReady = false;
    this.#waitingSince = this.#openingSince = null;
  }

  #lose() {
    this.#drop();
    if (this.#isStopped) return;
    this.#handlers.onState('lost');
    clearTimeout(this.#reconnectTimer);
    this.#reconnectTimer = setTimeout(() => this.#connect(), RECONNECT_MS * (1 + Math.random() / 2));
  }

  /** Reconnects now, because it may work again. */
  #hurry() {
    if (this.#isStopped || this.#socket) return;
    clearTimeout(this.#reconnectTimer);
    this.#connect();
  }

  /** Gives up a connection whose other end vanished (a closed laptop, another network). */
  #watch() {
    const now = performance.now();
    const isLate = now - this.#watchedAt > 2 * WATCHDOG_MS;
    this.#watchedAt = isLate ? Infinity : now;
    if (isLate) return; // the page was busy or asleep: what has come meanwhile is read first, until the next time
    if (this.#isReady && this.#waitingSince === null && now - this.#heardAt > HEARTBEAT_MS) this.#beat();
    const isSilent = this.#waitingSince !== null && now - this.#waitingSince > SILENCE_MS_MAX;
    const isStuck = this.#socket !== null && this.#openingSince !== null && now - this.#openingSince > OPENING_MS_MAX;
    if (isSilent || isStuck) this.#lose();
  }
}
