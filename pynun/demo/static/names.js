// Names and colours of people: made up here, and cleaned when they come from others.

export const NAME_LENGTH_MAX = 24;

const FIRST = ['Amber', 'Blue', 'Calm', 'Clear', 'Early', 'Golden', 'Green', 'Keen', 'Quiet', 'Silver', 'Swift', 'Warm'];
const SECOND = ['Crane', 'Falcon', 'Finch', 'Heron', 'Ibis', 'Kestrel', 'Lark', 'Osprey', 'Owl', 'Plover', 'Swan', 'Wren'];

/** Each is at least 7:1 against the page and against the dark text on it. */
export const COLOURS = ['#5ad1ff', '#ffd166', '#5ff0b0', '#ff9d8a', '#cfa8ff', '#ffb74d', '#b8e356', '#ff9ad1'];

const pick = (list) => list[Math.floor(Math.random() * list.length)];

export function randomName() {
  return `${pick(FIRST)} ${pick(SECOND)}`;
}

/** A name fit to be shown: no control or direction characters, one line, not too long. */
export function cleanName(name) {
  const text = String(name ?? '')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')
    .replace(/\s+/gu, ' ')
    .trim();
  return [...text].slice(0, NAME_LENGTH_MAX).join('') || 'Guest';
}

export function colourOf(number) {
  const index = Number.isInteger(number) ? Math.abs(number) % COLOURS.length : 0;
  return COLOURS[index];
}
