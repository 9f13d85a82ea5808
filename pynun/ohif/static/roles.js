// Who moves the viewers: everybody, or one who leads. The topic `lead` says who; `bring` calls everybody to one's
// view.
//
// A leader who is not here leads nobody until she comes back. A person who has let go is on their own until they
// follow again, or are brought.

const LEAD = 'lead';
const BRING = 'bring';
const AWAY_MS_MAX = 12 * 3600 * 1000;

export class Roles {
  #room;
  #me;
  #people;
  #handlers;
  #isFollowing = true;

  /**
   * Handlers: onChange() after each change; onJoin() when the room's state is to be shown; onLead() when ours is;
   * onLeader(id) when somebody else takes over.
   */
  constructor(room, me, people, handlers) {
    this.#room = room;
    this.#me = me;
    this.#people = people;
    this.#handlers = handlers;
    room.join(LEAD, {
      weight: 100,
      onValue: (value, { from, isFirst }) => {
        if (!isFirst && value?.leader === from) this.#handlers.onLeader(from);
        this.#handlers.onChange();
      },
    });
    room.join(BRING, {
      weight: 90, // after the state that it brings to
      onValue: (_, { from, isFirst }) => {
        if (!isFirst && (this.leader === null || this.leader === from)) this.follow();
      },
    });
  }

  /** The id of who leads, if she is here; null if everybody moves. */
  get leader() {
    const leader = this.#room.known(LEAD)?.value?.leader;
    return typeof leader === 'string' && this.#people.find(leader) ? leader : null;
  }

  /** The one who leads, but is not here: her connection may come back, unless it was another day. */
  get isLeaderAway() {
    const { value, at } = this.#room.known(LEAD) ?? {};
    return typeof value?.leader === 'string' && this.leader === null && Date.now() - at < AWAY_MS_MAX;
  }

  get isLeading() {
    return this.leader === this.#me;
  }

  get isFollowing() {
    return this.#isFollowing;
  }

  /** Whether what moves here moves the others. */
  get isMoving() {
    return this.#isFollowing && (this.leader === null || this.isLeading);
  }

  takeOver() {
    this.#isFollowing = true;
    this.#room.set(LEAD, { leader: this.#me });
    this.#handlers.onLead();
    this.#handlers.onChange();
  }

  release() {
    this.#room.set(LEAD, { leader: null });
    this.#handlers.onChange();
  }

  letGo() {
    this.#isFollowing = false;
    this.#handlers.onChange();
  }

  follow() {
    const was = this.#isFollowing;
    this.#isFollowing = true;
    this.#handlers.onJoin();
    if (!was) this.#handlers.onChange();
  }

  bring() {
    this.#isFollowing = true;
    this.#handlers.onLead();
    this.#room.set(BRING, { by: this.#me });
    this.#handlers.onChange();
  }
}
