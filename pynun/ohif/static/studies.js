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

  /** Our own address with the study in the place of the one that is open. */
  #address(study) {
    const { pathname, search } = location;
    const open = this.#viewer.study();
    if (open && search.includes(open)) return pathname + search.replaceAll(open, study);
    const base = document.querySelector('base')?.getAttribute('href') ?? '/';
    return `${window.PUBLIC_URL ?? base}${this.#pattern.replaceAll('{study}', study)}`;
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
