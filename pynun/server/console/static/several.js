// What is done with several keys at once: written to a file, read from one, removed. The server's own keys, which begin
// with $ (users, permissions, conflicts), are left alone.
import { t } from './texts.js';
import { number } from './ui.js';
import { checkKey, oneLine } from './words.js';

const AT_ONCE = 100;

export function withoutOwn(keys) {
  return keys.filter((key) => !key.startsWith('$'));
}

/** Runs something for each of many, some at once. Raises the first error, with how many were done. */
async function forAll(items, run) {
  for (let place = 0; place < items.length; place += AT_ONCE) {
    try {
      await Promise.all(items.slice(place, place + AT_ONCE).map(run));
    } catch (error) {
      if (place) error.message = `${error.message} (${t('firstDone', number(place))})`;
      throw error;
    }
  }
}

/** The keys with their values as lines that `nun-db import` reads too. Those that are gone meanwhile are left out. */
export async function exported(connection, database, strategy, keys, hasKey) {
  const made = new Date().toISOString();
  const lines = [{ format: 'nun-db export', version: 1, database, strategy, secrets: false, made }];
  await forAll(keys, async (key) => {
    const [message = ''] = await connection.inDatabase(database, `get-safe ${key}`);
    const [, version, value] = /^value-version (-?\d+) ([^]*)$/.exec(message) ?? [];
    if (value !== undefined && hasKey(key)) lines.push({ key, version: Math.max(0, Number(version)), value });
  });
  lines.push({ end: true, keys: lines.length - 1 });
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

/** The keys and values in a file: of an export, or of any lines with `key` and `value`. Raises Error with the line. */
export function readLines(text) {
  const found = new Map();
  for (const [place, line] of text.split('\n').entries()) {
    if (!line.trim()) continue;
    try {
      const { key, value, format, end, removed } = JSON.parse(line);
      if (format !== undefined || end || removed) continue;
      if (typeof key !== 'string' || typeof value !== 'string') throw new Error(t('noKeyValue'));
      if (!key.startsWith('$')) found.set(checkKey(key), oneLine(value));
    } catch (error) {
      throw new Error(t('badLine', number(place + 1), error.message));
    }
  }
  return found;
}

export function setAll(connection, database, values) {
  return forAll([...values], ([key, value]) => connection.inDatabase(database, `set ${key} ${value}`));
}

export function removeAll(connection, database, keys) {
  return forAll(keys, (key) => connection.inDatabase(database, `remove ${key}`));
}
