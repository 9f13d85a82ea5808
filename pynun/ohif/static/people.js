// Who is in the room: everybody has an ephemeral topic, `person-ID`, which the server removes when the connection
// ends.
//
// Keys can only be watched by their full name. So a viewer that comes also touches the topic `people`; all others then
// list the names that there are, and watch the new ones.

import { COLOURS_COUNT, cleanName, colourOf } from './names.js';

const PREFIX = 'person-';
const CALL = 'people';
const PEOPLE_MAX = 200;
const BACK_MS_MAX = 600_000;

export class People {
  #room;
  #me;
  #mine;
  #others = new Map();
  #onChange;
  #isComplete = false;
  #asked = new Set();

  /** `mine` is what the others see of us: {name, study, …}. `onChange(joined, left)` gets names. */
  constructor(room, me, mine, onChange) {
    this.#room = room;
    this.#me = me;
    this.#mine = { colour: Math.floor(Math.random() * COLOURS_COUNT), since: Date.now(), ...mine };
    this.#onChange = onChange;
    room.join(PREFIX + me, { isEphemeral: true, isMine: true, weight: 100 });
    room.join(CALL, { isEphemeral: true, isSignal: true, weight: 100, onValue: () => this.#look() });
  }

  /** We are connected (again): says that we are here, and looks who else is. */
  open() {
    this.#isComplete = false;
    this.#say();
    this.#room.set(CALL, 1);
    this.#look();
  }

  /** Whether it is known who is here. */
  get isComplete() {
    return this.#isComplete;
  }

  get mine() {
    return { id: this.#me, ...this.#mine, colour: colourOf(this.#mine.colour) };
  }

  /** The others, those who came first first. */
  get others() {
    return [...this.#others.values()].sort((one, other) => one.since - other.since || (one.id < other.id ? -1 : 1));
  }

  find(id) {
    return id === this.#me ? this.mine : (this.#others.get(id) ?? null);
  }

  /** Changes what the others see of us. */
  change(change) {
    if (Object.entries(change).every(([name, value]) => this.#mine[name] === value)) return;
    Object.assign(this.#mine, change);
    this.#say();
    this.#onChange([], []);
  }

  /** Nobody is known any more: the connection is lost. */
  forget() {
    this.#isComplete = false;
  }

  #say() {
    this.#room.set(PREFIX + this.#me, this.#mine);
  }

  #look() {
    this.#room.list(PREFIX, (names) => {
      const ids = names.map((name) => name.slice(PREFIX.length)).filter((id) => id && id !== this.#me);
      this.#asked = new Set(ids.filter((id) => !this.#others.has(id)).slice(0, PEOPLE_MAX));
      for (const id of this.#asked) {
        this.#room.join(PREFIX + id, {
          isEphemeral: true,
          onValue: (value) => this.#meet(id, value),
          onGone: () => this.#remove(id),
        });
      }
      this.#check();
    });
  }

  #check() {
    if (this.#asked.size > 0 || this.#isComplete) return;
    this.#isComplete = true;
    this.#onChange([], []);
  }

  #meet(id, value) {
    if (typeof value !== 'object' || value === null) return;
    const isNew = !this.#others.has(id);
    const person = {
      id,
      name: cleanName(value.name, '?'),
      colour: colourOf(value.colour),
      since: Number(value.since) || 0,
      study: typeof value.study === 'string' ? value.study : null,
      isFollowing: value.isFollowing !== false,
      mayMove: value.mayMove === true,
      hand: value.hand === true,
      isInStep: value.isInStep === true,
    };
    this.#others.set(id, person);
    this.#asked.delete(id);
    if (isNew && value.colour % COLOURS_COUNT === this.#mine.colour && person.since <= this.#mine.since)
      this.#recolour();
    this.#onChange(isNew && this.#isComplete ? [person.name] : [], []);
    this.#check();
  }

  #remove(id) {
    const person = this.#others.get(id);
    this.#others.delete(id);
    this.#asked.delete(id);
    // Their node of a cluster may only be cut off. Then their topic comes back, and nothing else does.
    setTimeout(() => this.#others.has(id) || this.#room.leave(PREFIX + id), BACK_MS_MAX);
    this.#check();
    if (person) this.#onChange([], [person.name], id);
  }

  /** Takes a colour that nobody has, as the one who came first keeps it. */
  #recolour() {
    const taken = new Set([...this.#others.values()].map(({ colour }) => colour));
    for (let number = 0; number < COLOURS_COUNT; number += 1) {
      if (taken.has(colourOf(number))) continue;
      this.#mine.colour = number;
      this.#say();
      return;
    }
  }
}
