// The nodes of a cluster: their roles, how far behind they are, and another may take over.
import { html, nothing } from './lit-html.js';
import { ask } from './connection.js';
import { t } from './texts.js';
import { empty, number, Polling, timeTag } from './ui.js';

const REST_MS = 2000;
const BADGES = { owner: 'good', following: '', away: 'bad' };

export class Cluster {
  #app;
  #nodes = null;
  #polling;

  constructor(app) {
    this.#app = app;
    this.#polling = new Polling(app, REST_MS, async () => {
      this.#nodes = (await ask('cluster')).nodes;
    });
  }

  connected() {
    this.#polling.now();
  }

  close() {
    this.#polling.close();
  }

  #handOver({ node }) {
    this.#app.dialogs.open({
      title: t('handOverTo', node),
      body: html`<p>${t('handOverNote', node)}</p>`,
      action: t('handOver'),
      onSubmit: () => this.#app.connection.command(`set-primary ${node}`),
    });
  }

  view() {
    const nodes = this.#nodes;
    return html`<h1>${t('cluster')}</h1><p class="muted">${t('clusterNote')}</p>
      ${nodes === null ? html`<p class="muted">${t('loading')}</p>` : nodes.length ? this.#table(nodes) : empty(t('noNodes'))}`;
  }

  #table(nodes) {
    return html`<div class="table-box" tabindex="0" role="region" aria-label=${t('cluster')}><table>
      <thead><tr><th>${t('node')}</th><th>${t('role')}</th><th>${t('since')}</th><th class="right">${t('behind')}</th>
        <th>${t('version')}</th><th>${t('audit_address')}</th><th><span class="hidden">${t('actions')}</span></th></tr></thead>
      <tbody>${nodes.map((one) => this.#row(one))}</tbody></table></div>`;
  }

  #row(one) {
    const { node, role, since, behind, version, address, trouble, unready } = one;
    return html`<tr><td class="strong">${node}</td>
      <td><span class="badge ${BADGES[role]}">${t(`role_${role}`)}</span>
        ${trouble || unready ? html`<p class="warn-text">${trouble || unready}</p>` : nothing}</td>
      <td>${since === null ? '–' : timeTag(since * 1000)}</td>
      <td class="right">${behind === null ? '–' : number(behind)}</td><td>${version}</td><td><code>${address}</code></td>
      <td class="row-actions">${
        role === 'following'
          ? html`<button class="button small" ?disabled=${Boolean(trouble)} aria-label=${t('handOverTo', node)}
              @click=${() => this.#handOver(one)}>${t('handOver')}</button>`
          : nothing
      }</td></tr>`;
  }
}
