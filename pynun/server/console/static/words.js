// What may be a word of a command, and a value.
import { t } from './texts.js';
import { compact } from './json.js';

/** A name is one word, without `;`. Raises Error. */
export function checkName(name) {
  if (!name || /[\s;]/.test(name)) throw new Error(t('noBlanks'));
  return name;
}

export function checkSecret(secret) {
  if (!secret || /\s/.test(secret)) throw new Error(t('noBlanksSecret'));
  return secret;
}

export function checkKey(key) {
  checkName(key.replaceAll(';', ''));
  return key;
}

/** A value is one line: JSON is written without line breaks, other text loses them. */
export function oneLine(text) {
  return /[\r\n]/.test(text) ? compact(text).replaceAll(/\s*[\r\n]+\s*/g, ' ') : text;
}
