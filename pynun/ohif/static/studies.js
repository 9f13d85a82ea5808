// Where another study is opened in this viewer, and whether this viewer may open it.

const UID = /^[0-9.]{1,64}$/;

export class Studies {
  #viewer;
  #pattern;

  /** `pattern` is an address below the viewer's own, with `{study}` in it, for a viewer that shows no study yet. */
  constructor(viewer, pattern = 'viewer?StudyInstanceUIDs={study}') {
    this.#viewer = viewer;
    this.#pattern = pattern;
  }

  /** The address of a study in this viewer; null if it may not be opened here. */
  async addressOf(study) {
    if (!UID.test(study)) return null;
    const to = this.#address(study);
    return (await this.#isThere(study, to)) ? to : null;
  }

  /** Whether a study that the address names is still being opened: then no other may be. */
  get isOpening() {
    return this.#viewer.study() === null && this.#path !== '/';
  }

  /** Whether the viewer is at this address; to go there again would close it. */
  isAt(to) {
    return to === this.#path + location.search;
  }

  get #path() {
    const base = (this.#viewer.config.routerBasename || window.PUBLIC_URL || '/').replace(/\/$/, '');
    const { pathname } = location;
    return pathname.startsWith(`${base}/`) ? pathname.slice(base.length) : pathname;
  }

  /** Our own address with the study in the place of the one that is open, as the viewer's router wants it. */
  #address(study) {
    const { search } = location;
    const open = this.#viewer.study();
    if (!open || !search.includes(open)) return `/${this.#pattern.replaceAll('{study}', study)}`;
    return this.#path + search.replaceAll(open, study);
  }

  async #isThere(study, to) {
    try {
      const manifest = new URL(to, location.href).searchParams.get('url');
      if (manifest !== null) {
        const response = await fetch(manifest);
        return response.ok && (await response.text()).includes(study);
      }
      const [source] = this.#viewer.extensions.getActiveDataSource();
      const found = await source.query.studies.search({ studyInstanceUid: study });
      return found.length > 0;
    } catch {
      return false;
    }
  }
}
