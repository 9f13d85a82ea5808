// The bar: who is here, who leads, whether it works, and what one can do. It floats over the page, so nothing moves
// when it comes or goes; all of it can be reached by keyboard, and names of others are only ever text.

import { styleSheet } from './style_sheet.js';
import { say } from './texts.js';

const SVG = 'http://www.w3.org/2000/svg';

const STYLE = `
  :host { position: fixed; left: 8px; right: 8px; bottom: 6px; z-index: 45; pointer-events: none; display: flex;
    justify-content: center; font: 12px/1.3 system-ui, sans-serif; color: #fff; }
  [hidden] { display: none !important; }
  section { background: #0b1530f2; border: 1px solid #3a5a9a; border-radius: 8px; padding: 4px 8px; display: flex;
    flex-wrap: wrap; gap: 4px 8px; pointer-events: auto; align-items: center; justify-content: center;
    box-shadow: 0 2px 12px #000a; }
  .state { display: flex; align-items: center; gap: 6px; }
  .dot { width: 10px; height: 10px; border-radius: 50%; background: #8a94a8; flex: none; }
  .dot.connected { background: #5ff0b0; } .dot.lost, .dot.refused { background: #ff9d8a; }
  .latency { color: #b9c6de; font-variant-numeric: tabular-nums; min-width: 42px; text-align: right; }
  .note { color: #ffd166; }
  ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px; margin: 0; padding: 0; max-height: 72px;
    overflow-y: auto; }
  li { border: 1px solid var(--colour); border-radius: 10px; padding: 0 7px; color: var(--colour);
    white-space: nowrap;
    max-width: 150px; overflow: hidden; text-overflow: ellipsis; }
  li.leader { background: var(--colour); color: #000; font-weight: 600; }
  li.away { border-style: dashed; }
  li svg { width: 13px; height: 13px; margin-right: 4px; vertical-align: -2px; fill: currentColor; stroke: currentColor;
    stroke-width: 1.8; stroke-linecap: round; }
  button { font: inherit; color: #fff; background: #1c3a7a; border: 1px solid #5a7fca; border-radius: 5px;
    padding: 2px 8px; cursor: pointer; }
  button:hover { background: #2a52a5; } button:disabled { color: #9aa6bd; background: #16233f;
    border-color: #33456b; cursor: not-allowed; }
  :focus-visible { outline: 2px solid #ffd166; outline-offset: 1px; }
  form { display: flex; gap: 6px; align-items: center; flex-wrap: wrap; }
  input { font: inherit; width: 110px; color: #fff; background: #060c1c; border: 1px solid #5a7fca;
    border-radius: 4px; padding: 2px 6px; }
  .quiet { clip-path: inset(50%); position: absolute; width: 1px; height: 1px; overflow: hidden;
    white-space: nowrap; }
`;

const BUTTONS = [
  'follow',
  'letGo',
  'takeOver',
  'release',
  'bring',
  'raise',
  'lower',
  'turnOn',
  'signIn',
  'signOut',
  'turnOff',
];
const MORE = ['signIn', 'signOut', 'turnOff'];

export class Bar {
  #texts;
  #actions;
  #host;
  #parts = {};
  #shown = '';

  /** `actions` has a function for each button, by its name, and signIn(name, token). */
  constructor(texts, actions) {
    this.#texts = texts;
    this.#actions = actions;
    this.#host = document.createElement('div');
    this.#host.id = 'nun-db-bar';
    const root = this.#host.attachShadow({ mode: 'open' });
    root.adoptedStyleSheets = [styleSheet(STYLE)];
    const section = element('section', { 'aria-label': this.#say('bar'), role: 'region' });
    root.append(section);
    this.#fill(section);
    document.body.append(this.#host);
    // The viewer's own keys must not act on what is typed here.
    for (const type of ['keydown', 'keyup', 'keypress'])
      this.#host.addEventListener(type, (event) => event.stopPropagation());
  }

  get isHidden() {
    return this.#host.hidden;
  }

  set isHidden(isHidden) {
    this.#host.hidden = isHidden;
  }

  /** Says something to people who listen to the page. */
  announce(text) {
    this.#parts.announcement.textContent = text;
  }

  /** Shows the round trip, as often as it comes. */
  showLatency(milliseconds) {
    const text = milliseconds === null ? '' : this.#say('latency', { number: Math.round(milliseconds) });
    if (this.#parts.latency.textContent !== text) this.#parts.latency.textContent = text;
  }

  /**
   * Shows everything else: {state, detail, isOn, role, roleName, hasUnshared, people: [{name, colour, isLeader, isAway,
   * hand}], may: {action: true, false for disabled, undefined for absent}}.
   */
  show(what) {
    const shown = JSON.stringify(what);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const { dot, status, note, people, form } = this.#parts;
    dot.className = `dot ${what.isOn ? what.state : 'off'}`;
    const isConnected = what.state === 'connected';
    status.textContent = !what.isOn
      ? this.#say('off')
      : isConnected
        ? this.#say(what.role, { name: what.roleName })
        : this.#say(what.state, { reason: what.detail });
    note.hidden = !(isConnected && what.isOn && what.hasUnshared);
    people.replaceChildren(
      ...(isConnected && what.isOn ? what.people : []).map(({ name, colour, isLeader, isAway, hand }) => {
        const item = element('li', { class: `${isLeader ? 'leader' : ''} ${isAway ? 'away' : ''}`, title: name }, name);
        if (hand) {
          item.prepend(handIcon());
          item.append(element('span', { class: 'quiet' }, `, ${this.#say('handRaised')}`));
        }
        item.style.setProperty('--colour', colour);
        return item;
      }),
    );
    for (const [name, button] of Object.entries(this.#parts.buttons)) {
      const may = what.may[name];
      button.hidden = may === undefined;
      button.disabled = may === false;
      button.title = may === false ? this.#say('needsRight') : '';
    }
    if (!what.may.signIn) form.hidden = true;
  }

  #fill(section) {
    const parts = this.#parts;
    const state = element('div', { class: 'state' });
    parts.dot = element('span', { class: 'dot' });
    parts.status = element('span', { class: 'status' });
    parts.latency = element('span', { class: 'latency' });
    parts.note = element('span', { class: 'note', hidden: '' }, this.#say('unshared'));
    state.append(parts.dot, parts.status, parts.latency, parts.note);
    parts.people = element('ul');
    parts.buttons = {};
    for (const name of BUTTONS) {
      const button = element('button', { type: 'button', 'data-action': name }, this.#say(name));
      button.addEventListener('click', () => (name === 'signIn' ? this.#openForm() : this.#actions[name]()));
      parts.buttons[name] = button;
    }
    const more = element(
      'button',
      { type: 'button', 'data-action': 'more', 'aria-expanded': 'false' },
      this.#say('more'),
    );
    more.addEventListener('click', () => {
      const isOpen = more.getAttribute('aria-expanded') !== 'true';
      more.setAttribute('aria-expanded', String(isOpen));
      parts.more.hidden = !isOpen;
    });
    parts.more = element('div', { class: 'state', hidden: '' });
    const hide = element(
      'button',
      { type: 'button', 'data-action': 'hide', 'aria-label': this.#say('hide'), title: this.#say('hide') },
      '×',
    );
    hide.addEventListener('click', () => this.#actions.hide());
    parts.form = this.#newForm();
    parts.announcement = element('div', { class: 'quiet', role: 'status', 'aria-live': 'polite' });
    const { buttons } = parts;
    parts.more.append(...MORE.map((name) => buttons[name]));
    const first = BUTTONS.filter((name) => !MORE.includes(name)).map((name) => buttons[name]);
    section.append(state, parts.people, ...first, more, parts.more, hide, parts.form, parts.announcement);
  }

  #newForm() {
    const form = element('form', { hidden: '', autocomplete: 'off' });
    const field = (name, type, hint) => {
      const label = element('label', {}, `${this.#say(name)} `);
      const input = element('input', {
        type,
        name,
        'data-field': name,
        placeholder: hint,
        autocomplete: 'off',
        maxlength: '200',
      });
      label.append(input);
      form.append(label);
      return input;
    };
    const name = field('name', 'text', '');
    const token = field('token', 'password', this.#say('tokenHint'));
    const submit = element('button', { type: 'submit', 'data-action': 'submit' }, this.#say('signIn'));
    const cancel = element('button', { type: 'button', 'data-action': 'cancel' }, this.#say('cancel'));
    form.append(submit, cancel);
    const close = () => {
      token.value = '';
      form.hidden = true;
      this.#parts.buttons.signIn.focus();
    };
    cancel.addEventListener('click', close);
    form.addEventListener('keydown', (event) => event.key === 'Escape' && close());
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (name.value.trim() !== '') this.#actions.signIn(name.value.trim(), token.value.trim());
      close();
    });
    return form;
  }

  #openForm() {
    this.#parts.form.hidden = false;
    this.#parts.form.querySelector('input').focus();
  }

  #say(name, values) {
    return say(this.#texts, name, values);
  }
}

/** A raised hand; a character for it is not in every font. */
function handIcon() {
  const icon = document.createElementNS(SVG, 'svg');
  icon.setAttribute('viewBox', '0 0 16 16');
  icon.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', 'M5 9V3.5M7.5 8V2M10 8V2.5M12.5 9V4.5M5 9L3 7.5M5 9.5a4 4.5 0 0 0 7.5 0V8.5H5z');
  icon.append(path);
  return icon;
}

function element(name, attributes = {}, text = '') {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}
