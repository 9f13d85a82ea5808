// Names and colours of people: generated here, sanitised when received.

export const NAME_LENGTH_MAX = 24;

const FIRST = ['Amber', 'Blue', 'Calm', 'Clear', 'Early', 'Golden', 'Green', 'Keen', 'Quiet', 'Silver', 'Swift', 'Warm'];
const SECOND = ['Crane', 'Falcon', 'Finch', 'Heron', 'Ibis', 'Kestrel', 'Lark', 'Osprey', 'Owl', 'Plover', 'Swan', 'Wren'];

/** Contrast of at least 7:1 with the page, and with the dark text on them. */
export const COLOURS = ['#5ad1ff', '#ffd166', '#5ff0b0', '#ff9d8a', '#cfa8ff', '#ffb74d', '#b8e356', '#ff9ad1'];

const pick = (list) => list[Math.floor(Math.random() * list.length)];

export function randomName() {
  return `${pick(FIRST)} ${pick(SECOND)}`;
}

/** A name that is safe to show: no control or direction characters, one line, limited length. */
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
