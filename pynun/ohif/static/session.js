// One viewer in one room: joins the parts, and decides what is sent and what is followed.
//
// A viewer that comes into a room where somebody shows a study takes over what the room shows. Else the room takes over
// what is shown here: what is stored may be from yesterday.

import { Annotations } from './annotations.js';
import { Bar } from './bar.js';
import { Connection } from './connection.js';
import { Hand } from './hand.js';
import { Identity } from './identity.js';
import { Layout } from './layout.js';
import { OldClients } from './old_clients.js';
import { Panes } from './panes.js';
import { People } from './people.js';
import { Pointers } from './pointers.js';
import { Rights } from './rights.js';
import { Roles } from './roles.js';
import { Room } from './room.js';
import { Segmentations } from './segmentations.js';
import { Studies } from './studies.js';
import { say } from './texts.js';
import { addButton, addCommand } from './toolbar.js';
import { Tools } from './tools.js';
import { guarded } from './viewer.js';

const LATENCY_SHOWN_MS = 500;
const LATENCIES = 9;

export class Session {
  #viewer;
  #options;
  #identity;
  #connection;
  #people;
  #roles;
  #rights;
  #pointers;
  #annotations;
  #segmentations;
  #tools;
  #old = null;
  #bar;
  #state = 'connecting';
  #detail = '';
  #isOn;
  #isInStep = false;
  #isPlanned = false;
  #raised = [];
  #latencies = [];
  #latencyShownAt = 0;

  constructor(viewer, options) {
    this.#viewer = viewer;
    this.#options = options;
    this.#isOn = options.isOn;
    this.#identity = new Identity(options);
    this.me = this.#identity.id;
    this.hand = new Hand();
    this.#connection = new Connection(options.url, this.#identity.login, {
      onState: (state, detail) => this.#takeState(state, detail),
      onOpen: () => this.#open(),
      onEvent: (key, text) => this.#old?.take(key, text) || this.room.take(key, text),
      onRemoved: (key) => this.room.gone(key),
      onAnswer: (key, error) => this.#takeAnswer(key, error),
      onRoundTrip: (milliseconds) => this.#showLatency(milliseconds),
      isFrameDue: () => this.#isPlanned,
    });
    this.room = new Room(this.#connection, options.key, this.me);
    this.#rights = new Rights(this.#connection, options.key, this.me, () => this.#changed());
    this.studies = new Studies(viewer, options.studyAddress);
    this.#people = new People(this.room, this.me, { name: this.#identity.name }, (...who) => this.#takePeople(...who));
    this.#roles = new Roles(this.room, this.me, this.#people, {
      onChange: () => this.#changed(),
      onJoin: () => this.#followAll(),
      onLead: () => this.#publish(),
      onLeader: (id) => this.tell('leading', id),
    });
    this.layout = new Layout(viewer, this);
    this.panes = new Panes(viewer, this);
    this.#pointers = new Pointers(viewer, this.room, this.me, this);
    this.#tools = new Tools(viewer, this);
    this.#annotations = new Annotations(viewer, this);
    this.#segmentations = new Segmentations(viewer, this);
    if (options.share.old) this.#old = new OldClients(viewer, this.#connection, options.key, this);
    this.#bar = new Bar(options.texts, this.#actions());
    this.#bar.isHidden = !options.hasBar;
    addCommand(viewer, () => this.#toggleBar());
  }

  start() {
    if (this.#isOn) this.#connection.start();
    this.onShown(this.#viewer.study());
    this.#changed();
  }

  // --- what the parts ask

  isShared(what) {
    return this.#options.share[what];
  }

  /** Whether a change of this kind that is made here is sent. */
  maySend(what) {
    if (!this.#isOn || !this.#isInStep || !this.isShared(what)) return false;
    if (what === 'pointers') return this.#rights.may('point') !== false;
    if (what !== 'layout' && this.layout.isElsewhere) return false;
    return this.#rights.may('move') !== false && this.#roles.isMoving;
  }

  /** Whether a change of this kind that others make is shown here. */
  isFollowing(what) {
    return this.#isOn && this.#isInStep && this.isShared(what) && this.#roles.isFollowing;
  }

  /** Clients without roles are followed only while everybody moves. */
  get isFollowingOld() {
    return this.isFollowing('old') && this.#roles.leader === null;
  }

  /** Whether nobody who may move the viewers has been here longer. */
  get isSenior() {
    const first = this.#people.others.find(({ mayMove }) => mayMove);
    return !first || first.since > this.#people.mine.since;
  }

  find(id) {
    return this.#people.find(id);
  }

  /** Says what somebody did, to people who listen to the page. */
  tell(text, id) {
    const { name } = this.find(id) ?? {};
    if (name) this.#bar.announce(say(this.#options.texts, text, { name }));
  }

  /** A pane was moved by a hand here. */
  onMoved(pane, viewport) {
    if (this.#old && pane.viewportId === this.#viewer.grid().active) this.#old.send(viewport);
  }

  /** Panes show other series than before. */
  onArranged() {
    this.#changed();
  }

  /** Another study, or none, is open here, or its panes are new. */
  onShown(study) {
    this.#people.change({ study });
    if (study === null) return;
    this.#pointers.look();
    this.#followRest();
    addButton(this.#viewer, this.#options.texts);
  }

  onStudyRefused() {
    const text = say(this.#options.texts, 'studyRefused');
    this.#viewer.notify(say(this.#options.texts, 'bar'), text, 'warning');
    this.#bar.announce(text);
  }

  /** Has `frame` of every part called with the next frame. */
  plan() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    const frame = guarded(() => {
      this.#isPlanned = false;
      try {
        if (this.#tools.isPlaying) this.hand.goOn();
        this.layout.frame();
        if (!this.layout.isBusy) this.panes.frame();
        this.#annotations.frame();
      } finally {
        this.#connection.flush();
      }
    });
    if (document.hidden) setTimeout(frame, 20);
    else requestAnimationFrame(frame);
  }

  // --- the connection

  #open() {
    this.#rights.ask();
    this.room.open();
    this.#people.open();
    this.#annotations.look();
  }

  #takeState(state, detail = '') {
    this.#state = state === 'connecting' && this.#state === 'lost' ? 'lost' : state;
    this.#detail = detail;
    if (state !== 'connected') {
      this.#people.forget();
      this.#bar.showLatency(null);
    }
    this.#changed();
  }

  #takeAnswer(key, error) {
    const right = this.#rights.take(key, error);
    if (right === 'move') this.#join();
    else if (error !== null && right === undefined) {
      this.room.deny(key);
      if (error === 'permission denied' && key.includes('-pane-')) this.#rights.deny();
    }
  }

  #showLatency(milliseconds) {
    const now = performance.now();
    this.#latencies = [...this.#latencies.slice(1 - LATENCIES), milliseconds];
    if (now - this.#latencyShownAt < LATENCY_SHOWN_MS) return;
    this.#latencyShownAt = now;
    this.#bar.showLatency(
      [...this.#latencies].sort((one, other) => one - other)[Math.floor((this.#latencies.length - 1) / 2)],
    );
  }

  // --- the people

  #takePeople(joined, left, leftId = null) {
    for (const { id } of this.#people.others) this.#pointers.add(id);
    if (leftId !== null) this.#pointers.remove(leftId);
    const { texts } = this.#options;
    for (const name of joined) this.#bar.announce(say(texts, 'joined', { name }));
    for (const name of left) this.#bar.announce(say(texts, 'left', { name }));
    const raised = this.#people.others.filter(({ hand }) => hand).map(({ id }) => id);
    for (const id of raised) if (!this.#raised.includes(id)) this.tell('raised', id);
    this.#raised = raised;
    this.#join();
    this.#changed();
  }

  /** Once it is known who is here and what we may: takes over what the room shows, or shows it what we do. */
  #join() {
    if (this.#isInStep || !this.#people.isComplete || this.#rights.may('move') === null) return;
    const others = this.#people.others.filter(({ study }) => study !== null);
    this.#isInStep = true;
    this.#people.change({ isInStep: true, mayMove: this.#rights.may('move') });
    const { formerId } = this.#identity;
    if (formerId && this.room.known('lead')?.value?.leader === formerId && !this.find(formerId)) this.#roles.takeOver();
    else if (others.some(({ isInStep }) => isInStep) || (others.length > 0 && !this.isSenior)) this.#followAll();
    else this.#publish();
    this.#changed();
  }

  #publish() {
    this.layout.publish();
    this.panes.publish();
    this.#tools.publish();
  }

  #followAll() {
    this.layout.tryAgain().then(() => this.panes.followAll());
    this.#followRest();
  }

  #followRest() {
    this.#tools.follow();
    this.#annotations.follow();
    this.#segmentations.follow();
  }

  // --- the bar

  #actions() {
    return {
      follow: () => this.#roles.follow(),
      letGo: () => this.#roles.letGo(),
      takeOver: () => this.#roles.takeOver(),
      release: () => this.#roles.release(),
      bring: () => this.#roles.bring(),
      raise: () => this.#people.change({ hand: true }),
      lower: () => this.#people.change({ hand: false }),
      signIn: (name, token) => this.#signIn(() => this.#identity.signIn(name, token)),
      signOut: () => this.#signIn(() => this.#identity.signOut()),
      turnOn: () => this.#turn(true),
      turnOff: () => this.#turn(false),
      hide: () => this.#toggleBar(),
    };
  }

  #signIn(change) {
    change();
    this.#people.change({ name: this.#identity.name });
    this.#rights.forget();
    this.#connection.signIn(this.#identity.login);
    this.#changed();
  }

  #turn(isOn) {
    this.#isOn = isOn;
    this.#isInStep = false;
    this.#rights.forget();
    if (isOn) this.#connection.start();
    else this.#connection.stop();
    this.#changed();
  }

  #toggleBar() {
    this.#bar.isHidden = !this.#bar.isHidden;
  }

  /** Tells the others and the bar how it is now. */
  #changed() {
    this.#people?.change({ isFollowing: this.#roles?.isFollowing ?? true, mayMove: this.#rights.may('move') === true });
    this.#bar?.show(this.#shown());
  }

  #shown() {
    const roles = this.#roles;
    const { leader, isLeading, isFollowing } = roles;
    const mayMove = this.#rights.may('move') !== false;
    const isConnected = this.#isOn && this.#state === 'connected';
    const mine = this.#people.mine;
    const when = (condition, value = true) => (isConnected && condition ? value : undefined);
    return {
      state: this.#state,
      detail: this.#detail,
      isOn: this.#isOn,
      role: this.#roleName(),
      roleName: this.#people.find(leader)?.name ?? '',
      hasUnshared: this.#viewer.panes().some((pane) => this.#viewer.isUnshared(pane)),
      people: [{ ...mine, name: say(this.#options.texts, 'you', mine) }, ...this.#people.others].map((person) => ({
        name: person.name,
        colour: person.colour,
        isLeader: person.id === leader,
        isAway: person.isFollowing === false,
        hand: person.hand === true,
      })),
      may: {
        follow: when(!isFollowing),
        letGo: when(isFollowing && !isLeading),
        takeOver: when(!isLeading, mayMove),
        release: when(isLeading),
        bring: when(leader === null || isLeading, mayMove),
        raise: when(!mine.hand, this.#rights.may('join') !== false),
        lower: when(mine.hand === true),
        signIn: when(!this.#identity.isSignedIn) ?? (this.#isOn && this.#state === 'refused' ? true : undefined),
        signOut: this.#identity.isSignedIn ? true : undefined,
        turnOn: !this.#isOn || this.#state === 'refused' ? true : undefined,
        turnOff: this.#isOn && this.#state !== 'refused' ? true : undefined,
      },
    };
  }

  #roleName() {
    const { leader, isLeading, isFollowing, isLeaderAway } = this.#roles;
    if (!isFollowing) return leader === null ? 'alone' : 'aloneOf';
    if (isLeading) return 'youLead';
    if (leader !== null) return 'leads';
    if (this.#rights.may('move') === false) return 'watching';
    return isLeaderAway ? 'away' : 'everybody';
  }
}
