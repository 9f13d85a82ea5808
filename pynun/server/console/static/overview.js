// How the server is: in a sentence, in numbers, and over the last hour.
import { html, nothing } from './lit-html.js';
import { ask } from './connection.js';
import { language, t } from './texts.js';
import { duration, icon, number, Polling, preferences, size, timeTag } from './ui.js';

const { uPlot } = window; // published minified only as a classic script, which index.html loads first

const REST_MS = 5000;
const HOUR_SECONDS = 3600;
const SHORTEST_SECONDS = 300;
const LEGEND_REM = 3.6;

/** The charts: lines with the columns that they are made of. */
const CHARTS = [
  { id: 'sessions', lines: [['chartConnections', (h) => h.connections], ['chartWatches', (h) => h.watches]] },
  {
    id: 'rates',
    lines: [
      ['chartCommands', (h) => rates(h, h.commands)],
      ['chartChanges', (h) => rates(h, h.changes)],
      ['chartSent', (h) => rates(h, h.sent)],
    ],
  },
  { id: 'commit', lines: [['chartCommit', commitMs], ['chartDelay', (h) => rates(h, h.loop_delay_seconds, 1000)]] },
  { id: 'memory', lines: [['chartMemory', (h) => h.memory_bytes.map((bytes) => bytes / 2 ** 20)]] },
  { id: 'disk', lines: [['chartDisk', (h) => h.disk_free_bytes.map((bytes) => bytes / 2 ** 30)]] },
];

/** The last hour; less, if the server has not run for so long. */
function rangeOf(times) {
  const max = times.at(-1) ?? Date.now() / 1000;
  return { min: Math.max(max - HOUR_SECONDS, Math.min(times[0] ?? max, max - SHORTEST_SECONDS)), max };
}

function rates(history, column, factor = 1) {
  return column.map((value, place) => {
    if (place === 0) return null;
    const seconds = history.time[place] - history.time[place - 1];
    return seconds > 0 ? Math.max(0, ((value - column[place - 1]) / seconds) * factor) : null;
  });
}

function commitMs(history) {
  return history.commit_seconds.map((value, place) => {
    if (place === 0) return null;
    const commits = history.commits[place] - history.commits[place - 1];
    return commits > 0 ? ((value - history.commit_seconds[place - 1]) / commits) * 1000 : null;
  });
}

export class Overview {
  #app;
  #now = null;
  #history = null;
  #polling;
  #plots = new Map();
  #observer = new ResizeObserver(() => this.#resize());

  constructor(app) {
    this.#app = app;
    this.#polling = new Polling(app, REST_MS, () => this.#look());
  }

  connected() {
    this.#polling.now();
  }

  close() {
    this.#polling.close();
    this.#forgetPlots();
  }

  restyled() {
    this.#forgetPlots();
  }

  async #look() {
    this.#take(await ask('overview', { after: this.#history?.time.at(-1) ?? 0 }));
  }

  #take(now) {
    const isSame = this.#history !== null && this.#now?.serving_since === now.serving_since;
    if (isSame) {
      const oldest = now.now - HOUR_SECONDS;
      const { time } = this.#history;
      const gone = time.findIndex((at) => at >= oldest);
      for (const [name, column] of Object.entries(now.history)) {
        this.#history[name] = [...this.#history[name].slice(Math.max(0, gone)), ...column];
      }
    } else {
      this.#history = now.history;
    }
    this.#now = now;
  }

  // --- what it says ------------------------------------------------------------------------------------------------

  #warnings() {
    const now = this.#now;
    const found = [];
    const warn = (name, ...words) => found.push({ text: t(`warn_${name}`, ...words), help: t(`help_${name}`) });
    const free = this.#last('disk_free_bytes');
    const whole = this.#last('disk_bytes');
    if (now.reason) found.push({ text: t('warn_notReady', now.reason), help: t('help_notReady'), isBad: true });
    if (whole && free / whole < 0.1) warn('disk', size(free));
    if (now.commit_failures) warn('commits', number(now.commit_failures));
    const { backups } = now;
    if (!backups.folder) warn('noBackups');
    else if (!backups.newest_at) warn('noBackupYet', backups.folder);
    else if (now.now - backups.newest_at > 2 * backups.interval_seconds) {
      warn('oldBackup', duration(now.now - backups.newest_at));
    }
    if (backups.failures) warn('backupFailures', number(backups.failures));
    if (now.is_open && !now.is_encrypted) warn('noTls');
    if (now.durability === 'relaxed') warn('relaxed');
    if (now.stalled_clients) warn('stalled', number(now.stalled_clients));
    const failed = now.failed_logins.admin + now.failed_logins.database;
    if (failed >= 20) warn('logins', number(failed));
    if (now.nodes_not_ready.length) warn('nodes', now.nodes_not_ready.join(', '));
    if (now.refused.limit) warn('limit', number(now.refused.limit));
    return found;
  }

  #last(name) {
    return this.#history?.[name]?.at(-1) ?? 0;
  }

  get #connections() {
    return Object.values(this.#now.connections).reduce((sum, open) => sum + open, 0);
  }

  #lastRate(values) {
    return values.at(-1) ?? 0;
  }

  #health(warnings) {
    const now = this.#now;
    if (now.reason) return { kind: 'bad', text: t('healthBad', now.reason) };
    const up = duration(now.now - now.serving_since);
    const sessions = number(this.#connections);
    return warnings.length
      ? { kind: 'warn', text: t('healthWarn', up, sessions, warnings.length) }
      : { kind: 'good', text: t('healthGood', up, sessions) };
  }

  view() {
    const now = this.#now;
    if (!now) return html`<h1>${t('overview')}</h1><p class="muted">${t('loading')}</p>`;
    const warnings = this.#warnings();
    const health = this.#health(warnings);
    const h = this.#history;
    const open = now.connections;
    return html`<h1>${t('overview')}</h1>
      <p class="health ${health.kind}" role="status">${icon(health.kind === 'good' ? 'check' : 'warning')}
        <span>${health.text}</span></p>
      ${
        warnings.length
          ? html`<ul class="warnings" aria-label=${t('warnings')}>${warnings.map(
              ({ text, help, isBad }) =>
                html`<li class=${isBad ? 'bad' : ''}>${icon('warning')}<div><b>${text}</b><p>${help}</p></div></li>`,
            )}</ul>`
          : nothing
      }
      <div class="cards">
        ${this.#card('cardSessions', number(this.#connections), `WebSocket ${number(open.websocket)} · TCP ${number(open.tcp)} · HTTP ${number(open.http)}`)}
        ${this.#card('cardChanges', number(this.#lastRate(rates(h, h.changes)), 1), t('perSecond'))}
        ${this.#card('cardSent', number(this.#lastRate(rates(h, h.sent)), 1), t('sentNote'))}
        ${this.#card('cardCommit', this.#commitText(), t(now.durability === 'always' ? 'durabilityAlways' : 'durabilityRelaxed'))}
        ${this.#card('cardDisk', size(this.#last('disk_free_bytes')), t('ofDisk', size(this.#last('disk_bytes'))))}
        ${this.#card('cardMemory', size(this.#last('memory_bytes')), t('memoryNote'))}
        ${this.#card('cardBackup', now.backups.newest_at ? timeTag(now.backups.newest_at * 1000) : t('none'), now.backups.folder ? t('backupEvery', duration(now.backups.interval_seconds), number(now.backups.keep)) : t('noSchedule'))}
        ${this.#card('cardUp', duration(now.now - now.serving_since), html`${t('since')} ${timeTag(now.serving_since * 1000)}`)}
      </div>
      <div class="charts">
        ${CHARTS.map(
          ({ id }) =>
            html`<section class="panel chart-panel"><h2>${t(`chart_${id}`)}</h2>
              <div class="chart" data-chart=${id} role="img" aria-label=${this.#chartText(id)}></div></section>`,
        )}
      </div>
      <p class="muted">${t('dataFolder')} <code>${now.data_dir}</code></p>`;
  }

  #commitText() {
    const value = commitMs(this.#history).findLast((ms) => ms !== null);
    return value === undefined || value === null ? '–' : `${number(value, 2)} ms`;
  }

  #card(name, value, note) {
    return html`<div class="card"><h2>${t(name)}</h2><p class="value">${value}</p><p class="muted">${note}</p></div>`;
  }

  /** What a chart shows, for those who don't see it. */
  #chartText(id) {
    const chart = CHARTS.find((one) => one.id === id);
    const parts = chart.lines.map(([name, values]) => {
      const numbers = values(this.#history).filter((value) => value !== null);
      return t('chartText', t(name), number(numbers.at(-1) ?? 0, 2), number(Math.max(0, ...numbers), 2));
    });
    return `${t(`chart_${id}`)}. ${parts.join('; ')}`;
  }

  // --- charts ------------------------------------------------------------------------------------------------------

  /** Called after each drawing. */
  drawn() {
    if (!this.#history) return;
    for (const chart of CHARTS) {
      const element = document.querySelector(`[data-chart=${chart.id}]`);
      if (!element) continue;
      const data = [this.#history.time, ...chart.lines.map(([, values]) => values(this.#history))];
      const plot = this.#plots.get(chart.id);
      if (plot && plot.root.parentElement === element) {
        this.#setData(plot, data);
      } else {
        plot?.destroy();
        this.#plots.set(chart.id, this.#makePlot(chart, data, element));
        this.#observer.observe(element);
      }
    }
  }

  #setData(plot, data) {
    plot.setData(data, false);
    plot.setScale('x', rangeOf(data[0]));
  }

  #makePlot(chart, data, element) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const rem = Number.parseFloat(style.fontSize);
    const font = `${Math.round(0.8 * rem)}px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { font, stroke: colour('muted'), grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line') } };
    const clock = new Intl.DateTimeFormat(language(), {
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
      timeZone: preferences.isUtc ? 'UTC' : undefined,
    });
    const options = {
      width: element.clientWidth,
      height: element.clientHeight - LEGEND_REM * rem,
      cursor: { y: false, points: { size: 6 } },
      legend: { live: true },
      scales: { x: { time: true, ...rangeOf(data[0]) }, y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.1)] } },
      axes: [
        { ...axis, values: (_u, ticks) => ticks.map((at) => clock.format(at * 1000)), space: 5 * rem },
        { ...axis, size: 4 * rem, values: (_u, ticks) => ticks.map((value) => number(value, 2)) },
      ],
      series: [
        { label: t('time'), value: (_u, at) => (at === null ? '–' : clock.format(at * 1000)) },
        ...chart.lines.map(([name], place) => ({
          label: t(name),
          stroke: colour(`line-${place + 1}`),
          width: 2,
          fill: place === 0 ? colour('fill-1') : undefined,
          points: { show: false },
          spanGaps: true,
          value: (_u, value) => (value === null ? '–' : number(value, 2)),
        })),
      ],
    };
    return new uPlot(options, data, element);
  }

  #resize() {
    for (const plot of this.#plots.values()) {
      const { clientWidth } = plot.root.parentElement ?? {};
      if (clientWidth && clientWidth !== plot.width) plot.setSize({ width: clientWidth, height: plot.height });
    }
  }

  #forgetPlots() {
    this.#observer.disconnect();
    for (const plot of this.#plots.values()) plot.destroy();
    this.#plots.clear();
  }
}
