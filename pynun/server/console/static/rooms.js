// The rooms of viewers that share what they show: who is there, who leads, what was shared last.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { databaseChoice, empty, icon, number, timeTag } from './ui.js';

const EVERY_MS = 3000;
const MS_PER_KEY = 0.5; // looking through 100,000 keys is worth a minute's rest
/** Keys of a room, below its own: those of the viewer's extension, and of the first one (docs/console.md). */
const PARTS = /^(.+)-(person-[^-]+|people|lead|layout|tool|cine|pane-\d+|camera|currentImageIdIndex)$/;
const KEYS_MAX = 2000;

export class Rooms {
  #app;
  #names = [];
  #rooms = null;
  #wanted = null;
  #timer = null;
  #isAsking = false;
  #isClosed = false;

  constructor(app) {
    this.#app = app;
  }

  open(database = null) {
    this.#wanted = database;
  }

  async connected() {
    try {
      this.#names = (await this.#app.chosenDatabase(this.#wanted)).names;
      this.#rooms = null;
      await this.#look();
    } catch (error) {
      this.#app.fail(error);
    }
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #look() {
    const { connection, isConnected, database } = this.#app;
    if (!isConnected || this.#isAsking || database === null) return;
    this.#isAsking = true;
    let all = 0;
    try {
      const rooms = new Map();
      const keys = [];
      await connection.rows('list-keys *', 'keys', database, (page) => {
        all += page.length;
        keys.push(...page.filter((key) => PARTS.test(key)));
      });
      const values = await Promise.all(
        keys.slice(0, KEYS_MAX).map((key) => connection.inDatabase(database, `get-safe ${key}`).catch(() => [])),
      );
      for (const [place, [message = '']] of values.entries()) note(rooms, keys[place], message);
      if (database === this.#app.database) this.#rooms = [...rooms.values()];
    } catch (error) {
      this.#app.fail(error);
    }
    this.#isAsking = false;
    clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = setTimeout(() => this.#look(), Math.max(EVERY_MS, all * MS_PER_KEY));
    this.#app.draw();
  }

  view() {
    return html`<div class="head"><h1>${t('rooms')}</h1>
        ${databaseChoice(this.#names, this.#app.database, (name) => this.#app.go('rooms', name))}</div>
      <p class="muted">${t('roomsNote')}</p>
      ${
        this.#rooms === null
          ? html`<p class="muted">${t('loading')}</p>`
          : this.#rooms.length
            ? html`<div class="room-list">${this.#rooms.map((room) => this.#room(room))}</div>`
            : empty(t('noRooms'))
      }`;
  }

  #room(room) {
    const leader = room.people.find(({ id }) => id === room.lead);
    const says = leader ? t('leads', leader.name) : t(room.lead ? 'leaderAway' : 'nobodyLeads');
    return html`<section class="panel room"><h2>${room.name}</h2>
      <p>${icon('users')} ${t('peopleCount', number(room.people.length))} ·
        ${says}</p>
      ${
        room.people.length
          ? html`<ul class="plain-list">${room.people.map(
              ({ id, name }) =>
                html`<li><span class="strong">${name}</span>${id === room.lead ? html`<span class="badge good">${t('leader')}</span>` : leader ? html`<span class="badge">${t('follows')}</span>` : nothing}</li>`,
            )}</ul>`
          : nothing
      }
      <p class="muted">${room.at ? html`${t('lastShared')} ${timeTag(room.at)}` : t('sharedNothing')}</p>
      <a href="#watch/${encodeURIComponent(this.#app.database)}/${encodeURIComponent(`${room.name}-*`)}">${t('watchRoom')}</a></section>`;
  }
}

/** Notes what a key says of its room. */
function note(rooms, key, message) {
  const [, name, part] = PARTS.exec(key);
  const room = rooms.get(name) ?? { name, people: [], lead: null, at: 0 };
  rooms.set(name, room);
  const text = message.replace(/^value-version -?\d+ /, '');
  let given = null;
  try {
    given = JSON.parse(text);
  } catch {
    return; // of the first extension, or of somebody else
  }
  if (typeof given?.at === 'number') room.at = Math.max(room.at, given.at);
  const { value } = given ?? {};
  if (part.startsWith('person-')) {
    const id = part.slice('person-'.length);
    if (value !== null) room.people.push({ id, name: String(value?.name ?? given?.name ?? id).slice(0, 64) });
  } else if (part === 'lead') {
    room.lead = typeof value?.leader === 'string' ? value.leader : null;
  }
}
