// Who is here: everyone announces themselves every two seconds. People who are silent or say goodbye leave the list.
//
// A background page may run its timers once a minute but gets messages at once, so it also answers others. When the
// server counts fewer connections, people who do not answer right after are gone.

import { COLOURS_COUNT, cleanName, colourIn, colourOf, recoloured } from './names.js';

export const PEOPLE = 'demo-people';
export const HELLO = 'demo-hello';

const BEAT_MS = 2000;
const SILENCE_MS_MAX = 7000;
const ROLL_CALL_MS = 2600;
const SETTLING_MS = 400;
const PEOPLE_MAX = 60;

export class People {
  #connection;
  #me;
  #name;
  #colour;
  #colourTimer = null;
  #others = new Map();
  #lastBeat = -Infinity;
  #rollCallBegan = null;
  #connections = 0;
  #onChange;

  /** Calls `onChange(joined, left)` with the names of those who joined or left, after each change. */
  constructor(connection, me, name, onChange) {
    this.#connection = connection;
    this.#me = me;
    this.#name = name;
    this.#colour = colourIn(name) === -1 ? Math.floor(Math.random() * COLOURS_COUNT) : colourIn(name);
    this.#onChange = onChange;
    setInterval(() => this.#tick(), 500);
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.greet();
    });
  }

  /** The own name, which changes with the colour unless the user typed it. */
  get name() {
    return this.#name;
  }

  get colour() {
    return colourOf(this.#colour);
  }

  /** The others, as {id, name, colour}, in the order they joined. */
  get others() {
    return [...this.#others].map(([id, { name, colour }]) => ({ id, name, colour: colourOf(colour) }));
  }

  find(id) {
    const person = this.#others.get(id);
    return person && { id, name: person.name, colour: colourOf(person.colour) };
  }

  rename(name) {
    this.#name = name;
    this.#beat();
  }

  /** Announces this page and asks the others to answer; gives them time before they count as gone. */
  greet() {
    const now = performance.now();
    for (const person of this.#others.values()) person.heardAt = now;
    this.#connection.set(HELLO, this.#me);
    this.#beat();
  }

  /** What others get when this page leaves. */
  get farewell() {
    return { gone: true };
  }

  /** Handles a message: of the kinds above, or any other, which also shows that the sender is here. */
  take(key, value, from) {
    if (from === this.#me) return;
    const person = this.#others.get(from);
    if (person) person.heardAt = performance.now();
    if (key === HELLO) this.#beat();
    else if (key === PEOPLE && value?.gone) this.#remove([from]);
    else if (key === PEOPLE && value) this.#meet(from, cleanName(value.name), value.colour);
    if (performance.now() - this.#lastBeat > BEAT_MS) this.#beat();
  }

  takeConnections(count) {
    if (count < this.#connections) this.#rollCallBegan = performance.now();
    this.#connections = count;
  }

  #meet(id, name, colour) {
    const known = this.#others.get(id);
    if (!known && this.#others.size >= PEOPLE_MAX) return;
    this.#others.set(id, { name, colour, heardAt: performance.now() });
    if (colour === this.#colour && id < this.#me) this.#chooseOtherColourSoon();
    if (!known) this.#onChange([name], []);
    else if (known.name !== name || known.colour !== colour) this.#onChange([], []);
  }

  #remove(ids) {
    const names = ids.filter((id) => this.#others.has(id)).map((id) => this.#others.get(id).name);
    for (const id of ids) this.#others.delete(id);
    if (names.length) this.#onChange([], names);
  }

  #tick() {
    const now = performance.now();
    if (now - this.#lastBeat > BEAT_MS) this.#beat();
    if (document.hidden || !this.#connection.isReady) {
      // Messages may be lost, so silence means nothing.
      for (const person of this.#others.values()) person.heardAt = Math.max(person.heardAt, now - BEAT_MS);
      return;
    }
    let oldest = now - SILENCE_MS_MAX;
    if (this.#rollCallBegan !== null && now - this.#rollCallBegan > ROLL_CALL_MS) {
      oldest = Math.max(oldest, this.#rollCallBegan);
      this.#rollCallBegan = null;
    }
    this.#remove([...this.#others].filter(([, person]) => person.heardAt < oldest).map(([id]) => id));
  }

  #beat() {
    if (!this.#connection.isReady) return;
    this.#lastBeat = performance.now();
    this.#connection.set(PEOPLE, { name: this.#name, colour: this.#colour });
  }

  /** Of two people with one colour, the one with the greater id takes a free one, once it knows which are taken. */
  #chooseOtherColourSoon() {
    this.#colourTimer ??= setTimeout(() => {
      this.#colourTimer = null;
      this.#choosePossiblyOtherColour();
    }, SETTLING_MS);
  }

  #choosePossiblyOtherColour() {
    const taken = new Set([...this.#others.values()].map((person) => person.colour));
    const isMine = [...this.#others].some(([id, person]) => person.colour === this.#colour && id < this.#me);
    const free = [...Array(COLOURS_COUNT).keys()].findIndex((colour) => !taken.has(colour));
    if (!isMine || free === -1) return;
    this.#colour = free;
    this.#name = recoloured(this.#name, free);
    this.#beat();
    this.#onChange([], []);
  }
}
