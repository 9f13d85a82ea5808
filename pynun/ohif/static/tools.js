// The active tool, and films (cine), in step.
//
// A film is played by one viewer; the others are moved by it, image by image, so that all show the same one. A
// person who starts or stops it does so for everybody.

const TOOL = 'tool';
const CINE = 'cine';

export class Tools {
  #viewer;
  #sync;
  #tool = null;
  #film = null;
  #isPlaying = false;

  constructor(viewer, sync) {
    this.#viewer = viewer;
    this.#sync = sync;
    const { toolGroupService: groups, cineService: cine } = viewer.services;
    viewer.subscribe(groups, ['PRIMARY_TOOL_ACTIVATED'], ({ toolName }) => this.#takeTool(toolName));
    sync.room.join(TOOL, { weight: 100, onValue: () => this.follow() });
    sync.room.join(CINE, { weight: 100, onValue: () => this.follow() });
    viewer.subscribe(cine, ['CINE_STATE_CHANGED'], () => this.#takeFilm());
  }

  /** Says what is active here. */
  publish() {
    this.#tool = this.#active();
    if (this.#tool !== null && this.#sync.maySend('tool')) this.#sync.room.set(TOOL, this.#tool);
  }

  /** Shows what the room has. */
  follow() {
    const tool = this.#sync.room.known(TOOL)?.value;
    if (this.#sync.isFollowing('tool') && typeof tool === 'string' && tool !== this.#active()) this.#activate(tool);
    const film = this.#sync.room.known(CINE);
    // A film whose player has gone is over.
    if (this.#sync.isFollowing('cine') && film && this.#sync.find(film.from)) this.#show(film.value, film.from);
  }

  /** Whether a film is played here: it moves the pane without a hand. */
  get isPlaying() {
    return this.#isPlaying;
  }

  #active() {
    return this.#viewer.services.toolGroupService.getActivePrimaryMouseButtonTool?.('default') ?? null;
  }

  #takeTool(tool) {
    if (typeof tool !== 'string' || tool === this.#tool) return;
    this.#tool = tool;
    if (this.#sync.maySend('tool') && this.#sync.hand.isRecent()) this.#sync.room.set(TOOL, tool);
  }

  #activate(tool) {
    this.#tool = tool;
    const { toolGroupService: groups } = this.#viewer.services;
    const toolGroupIds = groups.getToolGroupIds().filter((id) => groups.getToolGroup(id)?.hasTool?.(tool));
    if (toolGroupIds.length > 0) this.#viewer.run('setToolActiveToolbar', { toolName: tool, toolGroupIds });
  }

  #panes() {
    return this.#viewer.panes().map(({ viewportId }) => viewportId);
  }

  #takeFilm() {
    const { isCineEnabled, cines = {} } = this.#viewer.services.cineService.getState();
    const panes = this.#panes();
    const playing = panes.findIndex((id) => cines[id]?.isPlaying);
    this.#isPlaying = playing >= 0;
    const film = {
      isOpen: Boolean(isCineEnabled),
      pane: playing >= 0 ? playing : null,
      frameRate: cines[panes[Math.max(playing, 0)]]?.frameRate ?? null,
    };
    if (JSON.stringify(film) === JSON.stringify(this.#film)) return;
    this.#film = film;
    if (this.#sync.maySend('cine') && this.#sync.hand.isRecent()) this.#sync.room.set(CINE, film);
  }

  /** Another's film: its controls and rate are shown here, and whatever is played here stops. */
  #show(film, from) {
    if (from === this.#sync.me || typeof film !== 'object' || film === null) return;
    const { cineService } = this.#viewer.services;
    this.#film = { isOpen: film.isOpen === true, pane: null, frameRate: null };
    const { isCineEnabled, cines = {} } = cineService.getState();
    if (Boolean(isCineEnabled) !== this.#film.isOpen) cineService.setIsCineEnabled(this.#film.isOpen);
    const rate =
      Number.isFinite(film.frameRate) && film.frameRate > 0 && film.frameRate <= 120 ? film.frameRate : undefined;
    for (const id of this.#panes()) {
      const isNews = cines[id]?.isPlaying || (rate !== undefined && cines[id]?.frameRate !== rate);
      if (isNews) cineService.setCine({ id, isPlaying: false, ...(rate === undefined ? {} : { frameRate: rate }) });
    }
    this.#isPlaying = false;
  }
}
