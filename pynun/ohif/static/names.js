// Names and colours of people: made here, cleaned when they come from others.

const LENGTH_MAX = 32;

/** Readable on dark: a contrast of at least 7:1 with black, and with the dark text on them. */
const COLOURS = [
  '#5ad1ff',
  '#ffd166',
  '#5ff0b0',
  '#ff9d8a',
  '#cfa8ff',
  '#ffb74d',
  '#b8e356',
  '#ff9ad1',
  '#8fe3e3',
  '#e0c3a0',
];

/** A name that is safe to show: one line without control or direction characters, of limited length. */
export function cleanName(name, otherwise = '') {
  const text = String(name ?? '')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
    .replace(/\s+/gu, ' ')
    .trim();
  return [...text].slice(0, LENGTH_MAX).join('') || otherwise;
}

/** One of the colours, for any number that somebody else sent. */
export function colourOf(number) {
  return COLOURS[Number.isInteger(number) ? Math.abs(number) % COLOURS.length : 0];
}

/** Whether a text of somebody else is one of the colours. */
export const isColour = (text) => COLOURS.includes(text);

export const COLOURS_COUNT = COLOURS.length;
