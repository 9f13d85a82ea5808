// Connects the parts: the picture, the people, and the connection that synchronises all pages.
//
// A page applies another's view unless its user is moving the picture or its own view is still pending. The server's
// order decides, so the last view wins everywhere. Applied views are never sent on, so nothing echoes.

import { Connection } from './connection.js';
import { Invitation } from './invitation.js';
import { Meter } from './meter.js';
import { cleanName, randomName } from './names.js';
import { HELLO, PEOPLE, People } from './people.js';
import { SLICES, heightOf } from './phantom.js';
import { Picture } from './picture.js';
import { Pointers } from './pointers.js';
import { PRESETS, Viewport, cleanView } from './viewport.js';

const VIEW = 'demo-view';
const POINTER = 'demo-pointer';
const CONNECTIONS = '$connections';
const LEADER_MS = 1200;
const TEACHING_MS = 400;
const NAME_KEPT_AS = 'pynun-demo-name';

const byId = (id) => document.getElementById(id);
const me = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/** The name last used in this tab, if the browser stores it. */
function keptName() {
  try {
    return sessionStorage.getItem(NAME_KEPT_AS);
  } catch {
    return null;
  }
}

function keepName(name) {
  try {
    sessionStorage.setItem(NAME_KEPT_AS, name);
  } catch {
    // Then the name lasts as long as the page.
  }
}

function announce(text) {
  byId('announcements').textContent = text;
}

// --- the parts

let latestView = null; // the last view in the server's order
let hasOwnView = false; // whether the picture was ever moved, here or by others

const connection = new Connection(me, [VIEW, POINTER, PEOPLE, HELLO, CONNECTIONS], {
  onState: showState,
  onOpen: catchUp,
  onConfiguration: showInvitation,
  onEvent: takeEvent,
  onRoundTrip(milliseconds) {
    // While the page computes its first picture, it would measure itself.
    if (picture.has(viewport.shown.slice)) meter.add(milliseconds);
  },
});

const meter = new Meter(byId('sparkline'), {
  median: byId('trip-median'),
  last: byId('trip-last'),
  count: byId('trip-count'),
  figures: byId('trip-figures'),
  waiting: byId('trip-waiting'),
});

const picture = new Picture(() => viewport.plan());
const pointers = new Pointers(byId('pointers'));

const viewport = new Viewport(byId('stage'), byId('picture'), picture, {
  onChange(view) {
    hasOwnView = true;
    connection.set(VIEW, view);
    showControls();
  },
  onSettle: takeLatestView,
  onFrame: showFrame,
  onPoint(place) {
    connection.set(POINTER, place && { x: round(place.x), y: round(place.y), isDown: place.isDown });
    ownPlace = place;
    viewport.plan();
  },
});
pointers.attach(viewport);

let ownPlace = null;
let name = cleanName(keptName() ?? randomName());
const people = new People(connection, me, name, showPeople);

// --- the connection

function catchUp() {
  people.greet();
  askForView(() => {
    // Give a restarted server the current view. A change that somebody made while it was down is newer and comes first.
    setTimeout(() => askForView(() => connection.set(VIEW, viewport.target)), TEACHING_MS * (1 + Math.random()));
  });
  connection.get(CONNECTIONS, (count) => showConnections(count));
}

/** Applies the server's view; calls `onNone` if only this page has one. */
function askForView(onNone) {
  connection.get(VIEW, (content) => {
    const view = cleanView(content?.value);
    if (view) {
      latestView = view;
      takeLatestView();
    } else if (hasOwnView && !connection.isPending(VIEW)) {
      onNone();
    }
  });
}

function takeEvent(key, value, from) {
  if (key === CONNECTIONS) {
    showConnections(value);
    return;
  }
  people.take(key, value, from);
  if (key === VIEW) {
    const view = cleanView(value);
    if (!view) return;
    latestView = view;
    if (from !== me) showLeader(from);
    takeLatestView();
  } else if (key === POINTER && from !== me) {
    const person = people.find(from);
    if (person) pointers.show(person, value);
  }
}

function takeLatestView() {
  if (!latestView || viewport.isActive || connection.isPending(VIEW)) return;
  hasOwnView = true;
  viewport.follow(latestView);
  showControls();
}

addEventListener('pagehide', () => connection.stop(PEOPLE, people.farewell));
addEventListener('pageshow', (event) => {
  if (event.persisted) connection.resume();
});

// --- what is shown

function round(number) {
  return Math.round(number * 100) / 100;
}

const signed = (number) => `${number < 0 ? '−' : ''}${Math.abs(Math.round(number))}`;

let shownState = '';

function showState(state) {
  if (state === shownState) return;
  shownState = state;
  byId('state').dataset.state = state;
  byId('state').textContent = state === 'connected' ? 'Connected' : 'Connection lost, trying again…';
  if (state !== 'connected') byId('connections').textContent = '–';
}

function showConnections(count) {
  if (!Number.isInteger(count)) return;
  people.takeConnections(count);
  byId('connections').textContent = `${count} ${count === 1 ? 'session' : 'sessions'}`;
}

const invitation = new Invitation({ list: byId('addresses'), scan: byId('scan'), code: byId('code'), copy: byId('copy') });

function showInvitation({ others }) {
  const urls = Array.isArray(others) ? others : [];
  invitation.show(urls);
  byId('alone').hidden = urls.length > 0;
}

function showPeople(joined, left) {
  const list = byId('people');
  const others = people.others;
  const items = others.map(({ id, name: theirName, colour }) => {
    const item = document.createElement('li');
    item.dataset.id = id;
    const dot = document.createElement('span');
    dot.className = 'dot';
    dot.style.setProperty('--colour', colour);
    const text = document.createElement('span');
    text.className = 'name';
    text.textContent = theirName;
    item.append(dot, text);
    return item;
  });
  // Keep the own entry: the user may be typing the name.
  for (const item of [...list.children].slice(1)) item.remove();
  list.append(...items);
  byId('my-dot').style.setProperty('--colour', people.colour);
  if (people.name !== name) takeName(people.name);
  const present = new Set(others.map(({ id }) => id));
  for (const id of pointers.ids) if (!present.has(id)) pointers.remove(id);
  for (const person of others) pointers.dress(person);
  if (joined.length) announce(`${joined.join(', ')} joined`);
  if (left.length) announce(`${left.join(', ')} left`);
}

let leaderTimer = 0;

function showLeader(id) {
  const person = people.find(id);
  if (!person) return;
  const leader = byId('leader');
  byId('leader-text').textContent = `${person.name} is moving the picture`;
  leader.style.setProperty('--colour', person.colour);
  leader.hidden = false;
  clearTimeout(leaderTimer);
  leaderTimer = setTimeout(() => {
    leader.hidden = true;
  }, LEADER_MS);
}

/** Sets a text if it changed; most frames change few. */
function put(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

function showFrame({ shown, scale }) {
  byId('loading').hidden = picture.has(shown.slice);
  put('slice-text', `Slice ${shown.slice + 1}/${SLICES}  z ${signed(heightOf(shown.slice))} mm`);
  put('zoom-text', `Zoom ${Math.round(shown.zoom * 100)} %`);
  put('window-text', `L ${signed(shown.level)}  W ${Math.round(shown.width)}`);
  put('position-text', `X ${signed(shown.x)}  Y ${signed(shown.y)} mm`);
  const density = ownPlace && picture.densityAt(shown.slice, ownPlace.x, ownPlace.y);
  put('probe-text', density === null ? '' : `${signed(density)} HU`);
  const length = [100, 50, 20, 10, 5].find((millimetres) => millimetres * scale < 130) ?? 2;
  put('ruler-text', `${length} mm`);
  byId('ruler').style.width = `${(length * scale).toFixed(1)}px`;
  pointers.arrange();
}

function showControls() {
  const { slice, level, width } = viewport.target;
  byId('slice').value = String(slice + 1);
  byId('slice').setAttribute('aria-valuetext', `${slice + 1} of ${SLICES}`);
  const preset = PRESETS.findIndex((one) => one.level === level && one.width === width);
  byId('preset').value = preset === -1 ? 'own' : String(preset);
}

// --- the controls

function setTool(tool) {
  viewport.tool = tool;
  byId('tool-move').setAttribute('aria-pressed', String(tool === 'move'));
  byId('tool-window').setAttribute('aria-pressed', String(tool === 'window'));
  byId('stage').dataset.tool = tool;
}

byId('tool-move').addEventListener('click', () => setTool('move'));
byId('tool-window').addEventListener('click', () => setTool('window'));
byId('zoom-in').addEventListener('click', () => viewport.zoomBy(1.3));
byId('zoom-out').addEventListener('click', () => viewport.zoomBy(1 / 1.3));
byId('fit').addEventListener('click', () => viewport.change({ x: 0, y: 0, zoom: 1 }));
byId('slice-back').addEventListener('click', () => viewport.scroll(-1));
byId('slice-on').addEventListener('click', () => viewport.scroll(1));
byId('slice').max = String(SLICES);
byId('slice').addEventListener('input', (event) => viewport.change({ slice: Number(event.target.value) - 1 }));

PRESETS.forEach((preset, index) => byId('preset').append(new Option(preset.name, String(index))));
const own = new Option('Own', 'own');
own.hidden = true;
byId('preset').append(own);
byId('preset').addEventListener('change', (event) => {
  const preset = PRESETS[event.target.value];
  if (preset) viewport.change({ level: preset.level, width: preset.width });
});

const nameField = byId('name');
nameField.value = name;
nameField.addEventListener('input', () => {
  name = cleanName(nameField.value);
  keepName(name);
  people.rename(name);
});

/** The name follows the colour. */
function takeName(newName) {
  name = newName;
  nameField.value = name;
  keepName(name);
}

nameField.addEventListener('change', () => {
  nameField.value = name;
});
nameField.addEventListener('keydown', (event) => {
  if (event.key === 'Enter') nameField.blur();
});

byId('my-dot').style.setProperty('--colour', people.colour);
keepName(name);
showControls();
connection.start();
