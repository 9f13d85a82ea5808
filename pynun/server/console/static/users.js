// Who may do what: the users of a database with their permissions as a matrix, and the administrators.
import { html, nothing } from './lit-html.js';
import { t } from './texts.js';
import { databaseChoice, empty, icon, number, Polling } from './ui.js';
import { checkKey, checkName, checkSecret } from './words.js';

const REST_MS = 5000;
const KINDS = ['r', 'w', 'i', 'x'];
const EVERYONE = 'all';

export class Users {
  #app;
  #names = [];
  #users = null;
  #admins = null;
  #question = { user: '', kind: 'w', key: '' };
  #answer = null;
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
      const { names } = await this.#app.chosenDatabase(this.#wanted);
      this.#names = names;
      this.#users = null;
      this.#answer = null;
      await this.#polling.now();
    } catch (error) {
      this.#app.fail(error);
    }
  }

  close() {
    this.#polling.close();
  }

  get #database() {
    return this.#app.database;
  }

  async #look() {
    const { connection } = this.#app;
    const database = this.#database;
    if (database === null) return;
    const users = await connection.rows(`list-users ${database}`, 'users');
    if (database === this.#database) this.#users = withEveryone(users);
    this.#admins = await connection.rows('list-admins', 'admins');
  }

  // --- users -------------------------------------------------------------------------------------------------------

  #add() {
    this.#app.dialogs.open({
      title: t('addUser', this.#database),
      action: t('add'),
      fields: [
        { name: 'user', label: t('name') },
        { name: 'token', label: t('token'), type: 'secret', hint: t('secretHint') },
      ],
      onSubmit: async ({ user, token }) => {
        await this.#run(`add-user ${this.#database} ${checkName(user)} ${checkSecret(token)}`);
      },
    });
  }

  #changeToken(user) {
    this.#app.dialogs.open({
      title: t('changeTokenOf', this.#nameOf(user)),
      body: html`<p class="muted">${t('tokenNote')}</p>`,
      action: t('changeToken'),
      fields: [{ name: 'token', label: t('newToken'), type: 'secret', hint: t('secretHint') }],
      onSubmit: async ({ token }) => {
        await this.#run(`set-token ${this.#database} ${user} ${checkSecret(token)}`);
        this.#app.notices.tell(t('tokenChanged', this.#nameOf(user)));
      },
    });
  }

  #remove(user) {
    this.#app.dialogs.open({
      title: t('removeUser', user),
      action: t('remove'),
      isDangerous: true,
      onSubmit: () => this.#run(`remove-user ${this.#database} ${user}`),
    });
  }

  #addPattern(user) {
    this.#app.dialogs.open({
      title: t('grantTo', this.#nameOf(user)),
      body: html`<p class="muted">${t('patternHint')}</p>`,
      action: t('grant'),
      fields: [
        { name: 'pattern', label: t('pattern') },
        {
          name: 'kinds',
          label: t('kinds'),
          type: 'checks',
          value: 'r',
          options: KINDS.map((value) => ({ value, text: `${value} ${t(`kind_${value}`)}` })),
        },
      ],
      onSubmit: async ({ pattern, kinds }) => {
        checkName(pattern);
        const reply = await this.#app.connection.json(`grant ${this.#database} ${user} ${kinds} ${pattern}`);
        if (reply.is_first && user === EVERYONE) this.#app.notices.tell(t('firstRule'), 'warn');
        await this.#polling.now();
      },
    });
  }

  async #toggle(user, kind, pattern, has) {
    await this.#app.try(async () => {
      const reply = await this.#app.connection.json(
        `${has ? 'revoke' : 'grant'} ${this.#database} ${user} ${kind} ${pattern}`,
      );
      if (reply.still_allowed.length) this.#app.notices.tell(t('stillAllowed', reply.still_allowed.join(', ')), 'warn');
      await this.#polling.now();
    });
  }

  async #run(command) {
    await this.#app.connection.command(command);
    await this.#polling.now();
  }

  #nameOf(user) {
    return user === EVERYONE ? t('databaseToken') : user;
  }

  // --- the matrix --------------------------------------------------------------------------------------------------

  #matrix() {
    const users = this.#users;
    const grants = new Map(users.map((user) => [user.user, grantsOf(user.permissions)]));
    const patterns = [...new Set([...grants.values()].flatMap((grant) => [...grant.keys()]))].sort();
    return html`<div class="table-box" tabindex="0" role="region" aria-label=${t('matrix')}><table class="matrix">
      <thead><tr><th>${t('user')}</th>${patterns.map((pattern) => html`<th><code>${pattern}</code></th>`)}
        <th><span class="hidden">${t('actions')}</span></th></tr></thead>
      <tbody>${users.map((user) => this.#row(user, grants.get(user.user), patterns))}</tbody></table></div>`;
  }

  #row({ user, has_token: hasToken, permissions, connections }, grants, patterns) {
    const note =
      permissions === null ? (user === EVERYONE ? t('mayAll') : t('mayNothing')) : nothing;
    return html`<tr>
      <th scope="row"><span class="strong">${this.#nameOf(user)}</span>
        <span class="muted">${connections === undefined ? '' : t('sessionsCount', number(connections))}${
          hasToken || user === EVERYONE ? '' : ` · ${t('noToken')}`
        }</span>
        ${note === nothing ? nothing : html`<span class="note">${note}</span>`}</th>
      ${patterns.map((pattern) => {
        const kinds = grants.get(pattern) ?? new Set();
        return html`<td><span class="kinds" role="group" aria-label=${t('kindsOf', this.#nameOf(user), pattern)}>
          ${KINDS.map((kind) => {
            const has = kinds.has(kind);
            return html`<button class="kind" aria-pressed=${has} aria-label=${t(`kind_${kind}`)} title=${t(`kind_${kind}`)}
              @click=${() => this.#toggle(user, kind, pattern, has)}>${kind}</button>`;
          })}</span></td>`;
      })}
      <td class="row-actions">
        <button class="button small" aria-label=${t('grantTo', this.#nameOf(user))} @click=${() => this.#addPattern(user)}>${t('grant')}</button>
        <button class="button small" aria-label=${t('changeTokenOf', this.#nameOf(user))} @click=${() => this.#changeToken(user)}>${t('changeToken')}</button>
        ${
          user === EVERYONE
            ? nothing
            : html`<button class="button small danger-text" aria-label=${t('removeUser', user)} @click=${() => this.#remove(user)}>${t('remove')}</button>`
        }</td></tr>`;
  }

  // --- may somebody do something -----------------------------------------------------------------------------------

  async #ask(event) {
    event.preventDefault();
    const { user, kind, key } = this.#question;
    await this.#app.try(async () => {
      checkName(user);
      checkKey(key);
      this.#answer = await this.#app.connection.json(`explain-permission ${this.#database} ${user} ${kind} ${key}`);
    });
    this.#app.draw();
  }

  #questionView() {
    const question = this.#question;
    const set = (name) => (event) => {
      question[name] = event.target.value;
    };
    const answer = this.#answer;
    return html`<section class="panel"><h2>${t('mayTitle')}</h2>
      <form class="question" @submit=${(event) => this.#ask(event)}>
        <label class="inline-field"><span>${t('mayUser')}</span><input required list="users" .value=${question.user} @input=${set('user')} autocomplete="off" spellcheck="false" /></label>
        <datalist id="users">${(this.#users ?? []).map(({ user }) => html`<option value=${user}></option>`)}</datalist>
        <label class="inline-field"><span class="hidden">${t('kind')}</span><select @change=${set('kind')}>
          ${KINDS.map((kind) => html`<option value=${kind} .selected=${kind === question.kind}>${t(`kind_${kind}`)}</option>`)}</select></label>
        <label class="inline-field grow"><span>${t('key')}</span><input required .value=${question.key} @input=${set('key')} autocomplete="off" spellcheck="false" /></label>
        <button class="button primary">${t('askIt')}</button></form>
      <div role="status">${
        answer
          ? html`<p class="answer ${answer.allowed ? 'good' : 'bad'}">${icon(answer.allowed ? 'check' : 'close')}
              <b>${answer.allowed ? t('yes') : t('no')}</b> <span>${reasonText(answer.reason)}${
                answer.rule ? html` <code>${answer.rule}</code>` : nothing
              }</span></p>`
          : nothing
      }</div></section>`;
  }

  // --- administrators ----------------------------------------------------------------------------------------------

  #addAdmin() {
    this.#app.dialogs.open({
      title: t('addAdmin'),
      action: t('add'),
      fields: [
        { name: 'name', label: t('name') },
        { name: 'password', label: t('password'), type: 'secret', hint: t('secretHint') },
      ],
      onSubmit: ({ name, password }) => this.#run(`add-admin ${checkName(name)} ${checkPassword(password)}`),
    });
  }

  #setPassword(name) {
    const isSelf = name === this.#app.session.admin;
    this.#app.dialogs.open({
      title: t('passwordOf', name),
      body: html`<p class="muted">${isSelf ? t('ownPasswordNote') : t('passwordNote')}</p>`,
      action: t('changePassword'),
      fields: [{ name: 'password', label: t('newPassword'), type: 'secret', hint: t('secretHint') }],
      onSubmit: async ({ password }) => {
        await this.#run(`set-admin-password ${name} ${checkPassword(password)}`);
        this.#app.notices.tell(t('passwordChanged', name));
      },
    });
  }

  #removeAdmin(name) {
    this.#app.dialogs.open({
      title: t('removeAdmin', name),
      action: t('remove'),
      isDangerous: true,
      fields: [{ name: 'name', label: t('typeName', name), mustBe: name }],
      onSubmit: () => this.#run(`remove-admin ${name}`),
    });
  }

  #adminsView() {
    return html`<section class="panel"><div class="head"><h2>${t('admins')}</h2>
        <button class="button small" @click=${() => this.#addAdmin()}>${icon('plus')}<span>${t('addAdmin')}</span></button></div>
      <ul class="plain-list">${(this.#admins ?? []).map(
        ({ name, is_first: isFirst, sessions }) => html`<li><span class="strong">${name}</span>
          ${isFirst ? html`<span class="badge">NUN_USER</span>` : nothing}
          <span class="muted">${t('sessionsCount', number(sessions))}</span><span class="spacer"></span>
          <button class="button small" aria-label=${t('passwordOf', name)} @click=${() => this.#setPassword(name)}>${t('changePassword')}</button>
          ${
            isFirst
              ? nothing
              : html`<button class="button small danger-text" aria-label=${t('removeAdmin', name)} @click=${() => this.#removeAdmin(name)}>${t('remove')}</button>`
          }</li>`,
      )}</ul></section>`;
  }

  view() {
    const isReserved = this.#database === '$admin';
    return html`<div class="head"><h1>${t('users')}</h1>
        ${databaseChoice(this.#names, this.#database, (name) => this.#app.go('users', name))}
        <button class="button primary" ?disabled=${this.#database === null || isReserved} @click=${() => this.#add()}>
          ${icon('plus')}<span>${t('add')}</span></button></div>
      ${this.#users === null ? html`<p class="muted">${t('loading')}</p>` : this.#users.length ? this.#matrix() : empty(t('noUsers'))}
      <p class="muted legend">${t('legend')}</p>
      ${this.#questionView()}${this.#adminsView()}`;
  }
}

/** The users, with those who come by the database's own token first: they may do everything unless rules say less. */
function withEveryone(users) {
  const everyone = users.find(({ user }) => user === EVERYONE) ?? { user: EVERYONE, has_token: true, permissions: null };
  return [everyone, ...users.filter(({ user }) => user !== EVERYONE)];
}

/** `r *|rwx client-*,x` as kinds by pattern. */
function grantsOf(permissions) {
  const found = new Map();
  for (const part of (permissions ?? '').split('|')) {
    const space = part.indexOf(' ');
    if (space < 0) continue;
    for (const given of part.slice(space + 1).split(',')) {
      const pattern = given.trim();
      if (!pattern) continue;
      const kinds = found.get(pattern) ?? new Set();
      for (const kind of part.slice(0, space)) kinds.add(kind);
      found.set(pattern, kinds);
    }
  }
  return found;
}

function reasonText(reason) {
  return t(`reason_${reason.replaceAll('-', '_')}`);
}

function checkPassword(password) {
  if (!password || /[\r\n]/.test(password)) throw new Error(t('noBlanksSecret'));
  return password;
}
