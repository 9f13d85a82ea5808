// What app-config.js says (`nunDb`), with everything that it leaves out.

import { complain } from './complaints.js';

const SHARED = ['view', 'window', 'layout', 'tool', 'annotations', 'segmentations', 'cine', 'pointers', 'old'];

/** The options; null if there is none, or what it can't do without is missing. */
export function readOptions(given) {
  if (typeof given !== 'object' || given === null) {
    complain('app-config.js has no nunDb: the viewer stays on its own');
    return null;
  }
  const missing = ['url', 'db', 'token', 'key'].filter((name) => typeof given[name] !== 'string' || given[name] === '');
  if (missing.length > 0) {
    complain(`nunDb in app-config.js lacks ${missing.join(', ')}: the viewer stays on its own`);
    return null;
  }
  const unfit = ['db', 'user', 'token', 'key'].filter((name) => /[\s;]/.test(given[name] ?? ''));
  if (unfit.length > 0) {
    complain(`a space or semicolon is in ${unfit.join(', ')} of nunDb in app-config.js: the viewer stays on its own`);
    return null;
  }
  const share = Object.fromEntries(SHARED.map((name) => [name, given.share?.[name] !== false]));
  return {
    url: given.url,
    db: given.db,
    user: given.user ?? '',
    token: given.token,
    key: given.key,
    name: given.name ?? '',
    share,
    studyAddress: given.studyAddress,
    texts: given.texts ?? {},
    isOn: given.start !== 'off',
    hasBar: given.bar !== false,
  };
}
