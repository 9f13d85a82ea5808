// The extension: what the viewer loads. It may come late, when the viewer shows something already, and starts once,
// whatever the viewer does: changes of study or mode do not end it.

import { complain } from './complaints.js';
import { readOptions } from './options.js';
import { Session } from './session.js';
import { VERSION } from './version.js';
import { Viewer } from './viewer.js';

const STARTED = Symbol.for('nun-db-sync');

async function start(given) {
  if (globalThis[STARTED]) return;
  const options = readOptions(given.appConfig?.nunDb ?? window.config?.nunDb);
  if (options === null) return;
  globalThis[STARTED] = true;
  const viewer = new Viewer(given);
  await viewer.ready();
  new Session(viewer, options).start();
}

export default {
  id: 'nun-db-sync',
  version: VERSION,
  preRegistration(given) {
    start(given).catch((error) => complain('it could not start', error));
  },
};
