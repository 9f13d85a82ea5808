// What this person may do in the room, learnt from what the server answers: to a tiny ephemeral key for the room's
// state, to the own entry in the list of people, and to the own pointer. Ephemeral keys cost nothing and go by
// themselves.

export class Rights {
  #connection;
  #keys;
  #onChange;
  #may = {};

  constructor(connection, key, me, onChange) {
    this.#connection = connection;
    this.#keys = { [`${key}-try-${me}`]: 'move', [`${key}-person-${me}`]: 'join', [`${key}-pointer-${me}`]: 'point' };
    this.#onChange = onChange;
  }

  /** Whether one may move the viewers (`move`), be listed (`join`) or point (`point`): null if not known yet. */
  may(what) {
    return this.#may[what] ?? null;
  }

  /** Asks again, after each login. */
  ask() {
    const [key] = Object.keys(this.#keys);
    this.#connection.set(key, () => '1', { isEphemeral: true, weight: 1000 });
  }

  /** Nothing is known of another user. */
  forget() {
    this.#may = {};
  }

  /** A change of a key was answered: which right it was about, if that. */
  take(key, error) {
    const what = this.#keys[key];
    // A server without ephemeral keys has no list of people, but all else works.
    if (what) this.#learn(what, error === null || (what === 'move' && error.startsWith('unknown command')));
    return what;
  }

  /** A change of the room's state was refused. */
  deny() {
    this.#learn('move', false);
  }

  #learn(what, isAllowed) {
    if (this.#may[what] === isAllowed) return;
    this.#may[what] = isAllowed;
    this.#onChange();
  }
}
