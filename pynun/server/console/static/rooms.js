// The rooms of viewers that share what they show: who is there, who leads, what was shared last.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { databaseChoice, empty, icon, number, Polling, timeTag } from './ui.js';

const REST_MS = 1000;
const MS_PER_KEY = 0.5; // looking through 100,000 keys is worth a minute's rest
/** Keys of a room, below its own: those of the viewer's extension, and of the first one (docs/console.md). */
const PARTS = /^(.+)-(person-[^-]+|people|lead|bring|layout|tool|cine|pane-\d+|camera|currentImageIdIndex)$/;
const KEYS_MAX = 2000;

export class Rooms {
  #app;
  #names = [];
  #rooms = null;
  #wanted = null;
  #polling;

  constructor(app) {
    this.#app = app;
    this.#polling = new Polling(app, REST_MS, () => this.#look());
  }

  open(database = null) {
    this.#wanted = database;
  }

  async connected() {
    try {
      this.#names = (await this.#app.chosenDatabase(this.#wanted)).names;
      this.#rooms = null;
      await this.#polling.now();
    } catch (error) {
      this.#app.fail(error);
    }
  }

  close() {
    this.#polling.close();
  }

  async #look() {
    const { connection, database } = this.#app;
    if (database === null) return REST_MS;
    let all = 0;
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
    return Math.max(REST_MS, all * MS_PER_KEY);
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
              (person) =>
                html`<li><span class="strong">${person.name}</span>${roleOf(person, leader)}</li>`,
            )}</ul>`
          : nothing
      }
      <p class="muted">${room.at ? html`${t('lastShared')} ${timeTag(room.at)}` : t('sharedNothing')}</p>
      <a href="#watch/${encodeURIComponent(this.#app.database)}/${encodeURIComponent(`${room.name}-*`)}">${t('watchRoom')}</a></section>`;
  }
}

/** What a person does in a room. */
function roleOf({ id, isFollowing }, leader) {
  if (id === leader?.id) return html`<span class="badge good">${t('leader')}</span>`;
  if (!isFollowing) return html`<span class="badge warn">${t('alone')}</span>`;
  return leader ? html`<span class="badge">${t('follows', leader.name)}</span>` : nothing;
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
    const name = String(value?.name ?? given?.name ?? id).slice(0, 64);
    if (value !== null) room.people.push({ id, name, isFollowing: value?.isFollowing !== false });
  } else if (part === 'lead') {
    room.lead = typeof value?.leader === 'string' ? value.leader : null;
  }
}
