// The room: named topics whose newest value everybody has. A topic is a key below the room's, `KEY-name`; its value is
// JSON: {"from": sender, "seq": number, "at": milliseconds, "value": …}.
//
// The server's order decides. A value of ours is pending until its own event is back; what others said before it is
// skipped, as ours replaces it. `at` is the sender's clock, but always greater than any that it has seen, so that
// after a gap in the connection the newer of two values is known, no matter which viewer made it.

import { decode, encode } from './connection.js';

const TEACHING_MS = 500;

export class Room {
  #connection;
  #key;
  #me;
  #topics = new Map();
  #seq = 0;
  #clock = 0;

  constructor(connection, key, me) {
    this.#connection = connection;
    this.#key = key;
    this.#me = me;
  }

  /**
   * Takes part in a topic. `onValue(value, {from, isFirst})` gets each value of others, `onGone()` hears that the
   * key was removed, or is absent after a gap if it is removable. An ephemeral topic is set as long as we are
   * connected; no other client of the room sets it. Of a signal every event of others counts, and nothing is kept:
   * each client looks for itself when it connects.
   */
  join(
    name,
    {
      onValue = () => {},
      onGone = () => {},
      isEphemeral = false,
      isRemovable = false,
      isMine = false,
      isSignal = false,
      weight = 1,
    } = {},
  ) {
    if (this.#topics.has(name)) return;
    const state = { known: null, pending: null };
    this.#topics.set(name, { onValue, onGone, isEphemeral, isRemovable, isMine, isSignal, weight, ...state });
    if (isMine) return;
    this.#connection.watch(this.#keyOf(name));
    if (this.#connection.isReady && !isSignal) this.#ask(name);
  }

  leave(name) {
    if (this.#topics.delete(name)) this.#connection.unwatch(this.#keyOf(name));
  }

  has(name) {
    return this.#topics.has(name);
  }

  /** The newest value of a topic that we know, with its sender and time: {value, from, at, seq}, or null. */
  known(name) {
    return this.#topics.get(name)?.known ?? null;
  }

  set(name, value) {
    const topic = this.#topics.get(name);
    this.#seq += 1;
    this.#clock = Math.max(this.#clock + 1, Date.now());
    const content = { from: this.#me, seq: this.#seq, at: this.#clock, value };
    topic.known = topic.pending = content;
    this.#sendPending(name, topic);
  }

  remove(name) {
    this.#connection.unset(this.#keyOf(name));
    this.#connection.remove(this.#keyOf(name));
  }

  /** Lists the names of topics that begin so. */
  list(prefix, onNames) {
    const start = this.#keyOf('');
    this.#connection.list(this.#keyOf(prefix), (keys) => onNames(keys.map((key) => key.slice(start.length))));
  }

  /** The connection is new: asks for every topic. */
  open() {
    for (const [name, topic] of this.#topics) this.#renew(name, topic);
  }

  #renew(name, topic) {
    if (topic.isMine && topic.known) this.#sendPending(name, topic);
    else if (!topic.isMine && !topic.isSignal) this.#ask(name);
  }

  /** Forgets a change that the server has refused. */
  deny(key) {
    const topic = this.#topics.get(this.#nameOf(key));
    if (topic) topic.pending = null;
  }

  /** An event of the server. */
  take(key, text) {
    const name = this.#nameOf(key);
    const topic = this.#topics.get(name);
    const content = decode(text);
    if (!topic || typeof content?.from !== 'string') return;
    this.#clock = Math.max(this.#clock, Number(content.at) || 0);
    if (content.from === this.#me) {
      if (topic.pending?.seq === content.seq) topic.pending = null;
      return;
    }
    if (topic.pending !== null) return;
    topic.known = content;
    topic.onValue(content.value, { from: content.from, isFirst: false });
  }

  gone(key) {
    const topic = this.#topics.get(this.#nameOf(key));
    if (!topic) return;
    topic.known = topic.pending = null;
    topic.onGone();
  }

  #keyOf(name) {
    return `${this.#key}-${name}`;
  }

  #nameOf(key) {
    return key.slice(this.#key.length + 1);
  }

  #sendPending(name, topic) {
    const { isEphemeral, isMine, isSignal, weight } = topic;
    const content = topic.pending ?? topic.known;
    if (isMine || isSignal) topic.pending = null; // nobody else sets it, or every value of others counts as well
    const onLost = isSignal ? null : () => this.#renew(name, topic);
    this.#connection.set(this.#keyOf(name), () => encode(content), { isEphemeral, weight, onLost });
  }

  #ask(name) {
    this.#connection.get(this.#keyOf(name), (text) => this.#compare(name, text === undefined ? null : decode(text)));
  }

  /** What the server has, against what we know: the newer counts. */
  #compare(name, found) {
    const topic = this.#topics.get(name);
    if (!topic) return;
    const stored = typeof found?.from === 'string' ? found : null;
    const { known, pending } = topic;
    if (stored) this.#clock = Math.max(this.#clock, Number(stored.at) || 0);
    if (known && (!stored || stored.at < known.at)) {
      if (topic.isEphemeral || (topic.isRemovable && !pending)) {
        if (!stored) this.gone(this.#keyOf(name)); // its owner has not come back, or it was removed meanwhile
      } else if (pending) this.#sendPending(name, topic);
      else setTimeout(() => this.#teach(name, known), TEACHING_MS * Math.random());
      return;
    }
    topic.pending = null;
    this.#connection.unset(this.#keyOf(name));
    if (!stored && topic.isEphemeral) topic.onGone();
    if (!stored || (known?.from === stored.from && known.seq === stored.seq)) return;
    topic.known = stored;
    if (stored.from !== this.#me) topic.onValue(stored.value, { from: stored.from, isFirst: true });
  }

  /** The server has lost what we know: says it again as its sender did, unless somebody else has. */
  #teach(name, known) {
    const topic = this.#topics.get(name);
    if (topic?.known !== known || topic.pending) return;
    this.#connection.get(this.#keyOf(name), (text) => {
      const stored = text === undefined ? null : decode(text);
      if (topic.known === known && !topic.pending && !(stored?.at >= known.at)) this.#sendPending(name, topic);
    });
  }
}
