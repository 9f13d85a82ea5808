// Names and colours of people: generated here, sanitised when received.

export const NAME_LENGTH_MAX = 24;

const BIRDS = ['Crane', 'Falcon', 'Finch', 'Heron', 'Ibis', 'Kestrel', 'Lark', 'Osprey', 'Owl', 'Plover', 'Swan', 'Wren'];

/** Contrast of at least 7:1 with the page, and with the dark text on them. */
const COLOURS = ['#5ad1ff', '#ffd166', '#5ff0b0', '#ff9d8a', '#cfa8ff', '#ffb74d', '#b8e356', '#ff9ad1'];
const COLOUR_NAMES = ['Blue', 'Golden', 'Green', 'Coral', 'Violet', 'Orange', 'Lime', 'Pink'];
export const COLOURS_COUNT = COLOURS.length;

const pick = (list) => list[Math.floor(Math.random() * list.length)];

export function randomName() {
  return `${pick(COLOUR_NAMES)} ${pick(BIRDS)}`;
}

/** The number of the colour that a generated name says, or -1. */
export function colourIn(name) {
  const [first, second, ...more] = name.split(' ');
  return BIRDS.includes(second) && more.length === 0 ? COLOUR_NAMES.indexOf(first) : -1;
}

/** The name for another colour: a generated one says it, one that somebody typed stays. */
export function recoloured(name, colour) {
  return colourIn(name) === -1 ? name : `${COLOUR_NAMES[colour]} ${name.split(' ')[1]}`;
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
