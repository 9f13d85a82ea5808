// Computes a CT-like picture of a head: a Shepp-Logan style phantom of ellipsoids with densities in Hounsfield units,
// folds made of noise, the scanner's grain, and an invented bleeding to point at.
//
// Millimetres: x to the patient's left, y to the back, z upwards. Every run and every browser computes the same picture.

export const SIZE = 512;
export const FIELD_MM = 240;
export const SLICES = 25;
export const FIRST_SLICE = 11;

const SLICE_MM = 5;
const LOWEST_MM = -48;

export function heightOf(slice) {
  return LOWEST_MM + SLICE_MM * slice;
}

const AIR = -1000;
const FLUID = 7;
const WHITE = 27;
const GREY = 38;

/** [centre x, y, z, radius x, y, z, turn in degrees, density]: later ones cover earlier ones. */
const INSIDE_BRAIN = [
  ...both([17, -21, 12, 6.5, 10, 13, 18, GREY + 1]), // heads of the caudate nuclei
  ...both([28, -6, 6, 6.5, 17, 12, 14, GREY + 1]), // lentiform nuclei
  ...both([10.5, 11, 6, 8.5, 13, 10, -20, GREY]), // thalami
  ...both([9, -26, 13, 4.2, 13, 13, 20, FLUID]), // frontal horns
  ...both([12.5, -2, 29, 5, 30, 9, 6, FLUID]), // bodies of the side ventricles
  ...both([24, 34, 12, 6.5, 15, 11, -24, FLUID]), // atria
  ...both([33, 2, -20, 3, 9, 6, -10, FLUID]), // temporal horns
  [0, -1, 2, 2.3, 12, 11, 0, FLUID], // third ventricle
  [0, -14, -13, 12, 9, 7, 0, FLUID], // cistern above the sella
  [0, 28, -6, 10, 4, 7, 0, FLUID], // cistern behind the brain stem
  [0, 46, -34, 7, 5, 9, 0, FLUID], // fourth ventricle
  [0, 25, 6, 2.2, 2.6, 3.2, 0, 190], // pineal gland, with lime
  ...both([24, 31, 10, 2.4, 4, 4, -24, 120]), // choroid plexus, with lime
];

const STEM = [0, 14, -34, 14, 13, 30, 0, 30];
const CEREBELLUM = [0, 46, -38, 47, 32, 25, 0, 34];

const BASE_OF_SKULL = [
  ...both([27, -54, -39, 18, 25, 17, 14, 900]), // walls of the eye sockets
  ...both([27.5, -55, -39, 16, 24.5, 15, 14, -95]), // fat in them
  ...both([25, -42, -39, 2.2, 18, 2.6, 20, 45]), // optic nerves
  ...both([37.5, -50, -39, 2, 16, 7, 4, 50]), // muscles of the eyes
  ...both([18, -50, -39, 2, 16, 7, 24, 50]),
  ...both([29, -64, -39, 12.5, 12.5, 12, 0, 75]), // eyeballs
  ...both([29, -64, -39, 11.4, 11.4, 11, 0, 12]),
  ...both([30, -73.2, -39, 4.4, 2.2, 4.4, 0, 95]), // lenses
  [0, -56, -40, 12, 30, 19, 0, 650], // ethmoid bone
  ...both([6, -72, -40, 5, 12, 17, 0, AIR]), // its cells
  ...both([6.2, -48, -40, 5, 10, 14, 0, AIR]),
  [0, -27, -41, 17, 13, 12, 0, 800], // sphenoid bone
  ...both([7, -27, -41, 6, 11, 9.5, 0, AIR]), // its sinus
  ...both([34, 10, -41, 27, 8, 11, 34, 1250]), // petrous bones
  ...both([51, 26, -43, 13, 13, 14, 0, 750]), // mastoids
  ...both([13, -85, -21, 12, 5.5, 13, -8, 700]), // frontal sinuses
  ...both([12, -85.5, -21, 9.5, 3.2, 11, -8, AIR]),
];

const BLEEDING = { x: -31, y: 0, z: 13, rx: 13, ry: 18, rz: 13, turn: 12 };

function both(shape) {
  const [x, y, z, rx, ry, rz, turn, density] = shape;
  return [shape, [-x, y, z, rx, ry, rz, -turn, density]];
}

/** The ellipses in which a plane cuts ellipsoids. */
function cut(shapes, z) {
  const cuts = [];
  for (const [x, y, centre, rx, ry, rz, turn, density] of shapes) {
    const part = 1 - ((z - centre) / rz) ** 2;
    if (part <= 0.02) continue;
    const scale = Math.sqrt(part);
    const angle = (turn * Math.PI) / 180;
    cuts.push({
      x, y, density,
      cos: Math.cos(angle) / (rx * scale), sin: Math.sin(angle) / (rx * scale),
      cosY: Math.cos(angle) / (ry * scale), sinY: Math.sin(angle) / (ry * scale),
    });
  }
  return cuts;
}

/** A point's relative distance from the centre: below 1 inside the ellipse. */
function distance(ellipse, x, y) {
  const dx = x - ellipse.x;
  const dy = y - ellipse.y;
  const along = dx * ellipse.cos + dy * ellipse.sin;
  const across = dy * ellipse.cosY - dx * ellipse.sinY;
  return Math.sqrt(along * along + across * across); // much faster than Math.hypot
}

function hash(x, y, z) {
  let h = Math.imul(x, 374761393) ^ Math.imul(y, 668265263) ^ Math.imul(z, 1440662683);
  h = Math.imul(h ^ (h >>> 13), 1274126177);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967295;
}

/** Smooth noise from -1 to 1. */
function noise(x, y, z) {
  const xi = Math.floor(x);
  const yi = Math.floor(y);
  const zi = Math.floor(z);
  const u = fade(x - xi);
  const v = fade(y - yi);
  const w = fade(z - zi);
  return mixTo(noiseInPlane(xi, yi, zi, u, v), noiseInPlane(xi, yi, zi + 1, u, v), w) * 2 - 1;
}

function noiseInPlane(xi, yi, zi, u, v) {
  const upper = mixTo(hash(xi, yi, zi), hash(xi + 1, yi, zi), u);
  return mixTo(upper, mixTo(hash(xi, yi + 1, zi), hash(xi + 1, yi + 1, zi), u), v);
}

function fade(part) {
  return part * part * (3 - 2 * part);
}

function smooth(from, to, value) {
  return fade(Math.min(1, Math.max(0, (value - from) / (to - from))));
}

/** The size of the head at a height, relative to the middle. */
function outline(z) {
  return z > 0 ? Math.sqrt(Math.max(0, 1 - (z / 91) ** 2)) : 1 - 0.05 * (z / 50) ** 2;
}

/** One slice: SIZE x SIZE densities in Hounsfield units, row by row. */
export function computeSlice(slice) {
  const z = heightOf(slice);
  const scale = outline(z);
  const tilt = z > 0 ? Math.max(0.34, scale) : 1; // near the top the layers are cut at an angle and look thicker
  const brainCuts = cut(INSIDE_BRAIN, z);
  const baseCuts = cut(BASE_OF_SKULL, z);
  const [stem] = cut([STEM], z);
  const [cerebellum] = cut([CEREBELLUM], z);
  const { x, y, z: bz, rx, ry, rz, turn } = BLEEDING;
  const [bleeding] = cut([[x, y, bz, rx, ry, rz, turn, 68]], z);
  const raw = new Float32Array(SIZE * SIZE);
  for (let row = 0; row < SIZE; row += 1) {
    for (let column = 0; column < SIZE; column += 1) {
      const px = ((column + 0.5) / SIZE - 0.5) * FIELD_MM;
      const py = ((row + 0.5) / SIZE - 0.5) * FIELD_MM;
      raw[row * SIZE + column] = density(px, py, z, scale, tilt, brainCuts, baseCuts, stem, cerebellum, bleeding);
    }
  }
  return finish(raw, slice);
}

function density(x, y, z, scale, tilt, brainCuts, baseCuts, stem, cerebellum, bleeding) {
  if (Math.abs(x) > 100 || Math.abs(y) > 116) return AIR;
  // The head rest: a shell around the back of the head.
  const rest = Math.sqrt(x * x + (y + 2) * (y + 2));
  if (y > 48 && rest > 106 && rest < 116) {
    const shell = Math.min(Math.abs(rest - 108), Math.abs(rest - 113));
    return mixTo(30, rest > 108 && rest < 113 ? -880 : AIR, smooth(0.4, 1.5, shell));
  }
  if (scale === 0) return AIR;
  const halfWidth = 73 * scale * (1 + (0.09 * y) / 95 - 0.05 * (y / 95) ** 2);
  const radius = Math.sqrt((x / halfWidth) ** 2 + (y / (93 * scale)) ** 2);
  if (radius > 1.03) return AIR;
  const depth = (1 - radius) * 82 * scale * tilt + noise(x / 30, y / 30, z / 30) * 0.5;
  if (depth < 0) return AIR;
  if (depth < 2) return mixTo(-600, 38, smooth(0, 0.5, depth)); // skin
  const bone = 5.6 + noise(x / 40 + 7, y / 40, z / 40) * 0.8;
  const thickness = 6.4 + 2.2 * smooth(30, 90, -y) + 1.6 * smooth(50, 90, y) + noise(x / 22, y / 22 + 9, z / 22) * 0.9;
  if (depth < bone) return -85 + noise(x / 3, y / 3, z / 3) * 18;
  let value;
  if (depth < bone + thickness) {
    const part = (depth - bone) / thickness;
    const spongy = smooth(0.22, 0.4, part) * (1 - smooth(0.62, 0.8, part));
    value = 1500 - spongy * (820 + noise(x / 2.2, y / 2.2, z / 3) * 260);
  } else {
    value = brain(x, y, z, depth - bone - thickness, brainCuts, stem, cerebellum);
    if (bleeding) value = bleed(value, x, y, z, distance(bleeding, x, y));
  }
  const wobble = baseCuts.length && noise(x / 7, y / 7, z / 9) * 0.9;
  for (const ellipse of baseCuts) {
    if (distance(ellipse, x + wobble, y - wobble) < 1) {
      value = ellipse.density;
      // Hollow cells in the bone behind the ear.
      if (value === 750) value += noise(x / 3.2, y / 3.2, z / 4) > -0.05 ? -1350 : 200;
    }
  }
  return value;
}

/** The brain, `depth` millimetres below the skull. */
function brain(x, y, z, depth, cuts, stem, cerebellum) {
  const wave = noise(x / 16, y / 16, z / 18);
  let value = WHITE + wave * 0.8;
  const reach = 1 - smooth(7, 24, depth);
  if (reach > 0.01) {
    // Furrows are where a noise is near zero: narrow and winding; they end some way in.
    const warpX = x + noise(x / 13 + 31, y / 13, z / 16) * 4;
    const warpY = y + noise(x / 13, y / 13 + 57, z / 16) * 4;
    const fold = Math.abs(noise(warpX / 9.2, warpY / 9.2, z / 14) + noise(warpX / 4.4, warpY / 4.4, z / 8) * 0.16);
    const ribbon = 0.42 * reach;
    const furrow = 0.125 * reach + 0.02;
    value = mixTo(value, GREY, (1 - smooth(ribbon * 0.8, ribbon + 0.06, fold)) * smooth(0, 0.12, reach));
    value = mixTo(value, GREY, 1 - smooth(2.5, 5, depth));
    if (reach > 0.05) value = mixTo(value, FLUID + 3, 1 - smooth(furrow * 0.5, furrow, fold));
  }
  value = mixTo(FLUID + 2, value, smooth(0.4, 2.2, depth + wave * 0.7));
  // The fissures beside the insula.
  const side = Math.abs(x);
  if (z > -14 && z < 22) {
    const line = y + 12 - (side - 44) * 0.35;
    if (side > 37 && Math.abs(line) < 6) {
      value = mixTo(FLUID + 2, value, smooth(0.9, 2.6, Math.abs(line + noise(x / 7, y / 7, z / 9) * 3)));
    }
    if (y > -24 && y < 12 && Math.abs(side - 39) < 5) {
      value = mixTo(FLUID + 4, value, smooth(0.6, 2.3, Math.abs(side - 39 + noise(x / 9, y / 9, z / 9) * 2.4)));
    }
  }
  // The fold between the halves, with the falx in it.
  const gap = Math.abs(x) < 8 ? Math.abs(x + noise(3, y / 12, z / 12) * 1.6) : Math.abs(x);
  const isOpen = z > 34 || y < -36 || (y > 46 && z > -12);
  if (isOpen && gap < 6) {
    value = mixTo(FLUID + 5, value, smooth(1.1, 3.2, gap + (noise(x / 5, y / 6, z / 8) + 1) * 0.5));
    const falx = Math.abs(x + noise(9, y / 26, z / 20) * 0.9);
    if (z > -2) value = mixTo(54, value, smooth(0.25, 0.8, falx));
  } else if (!isOpen && z > 14 && z <= 34 && Math.abs(x) < 30 && Math.abs(Math.abs(y) - 24) < 16) {
    value = mixTo(value, WHITE - 1, 1 - smooth(18, 30, Math.abs(x))); // the corpus callosum
  }
  const leaf = cerebellum ? distance(cerebellum, x, y) : 9;
  if (leaf < 1.09) {
    const out = leaf + wave * 0.03 + noise(x / 6, y / 6, z / 9) * 0.025;
    const leaves = Math.sin((Math.hypot(x * 0.72, y - 30) + wave * 2.4) * 1.75);
    const inner = GREY - 3 + leaves * 3.2 * smooth(0.25, 0.7, out) - 4 * (1 - smooth(0.2, 0.55, out));
    value = mixTo(inner, FLUID + 4, smooth(0.985, 1.02, out) * (1 - smooth(1.03, 1.09, out) * 0.6));
  }
  let stemOut = stem ? distance(stem, x, y) : 9;
  if (stemOut < 1.4) stemOut += noise(x / 8, y / 8, z / 10) * 0.07;
  if (stemOut < 1.3) {
    // Fluid in front and at the sides of the brain stem, none towards the cerebellum.
    const front = 1 - smooth(14, 26, y);
    value = mixTo(31 + wave, mixTo(value, FLUID, front * (1 - smooth(1.16, 1.3, stemOut))), smooth(0.96, 1.06, stemOut));
  }
  for (const ellipse of cuts) {
    const out = distance(ellipse, x, y);
    if (out < 1.15) value = mixTo(ellipse.density, value, smooth(0.9, 1.12, out + wave * 0.05));
  }
  return value;
}

/** A bleeding with the swelling around it. */
function bleed(value, x, y, z, out) {
  if (out > 1.7) return value;
  const edge = out + noise(x / 6, y / 6 + 3, z / 7) * 0.16;
  const swollen = mixTo(20, value, smooth(1.15, 1.5, edge));
  return mixTo(67 + noise(x / 5, y / 5, z / 5) * 5, swollen, smooth(0.92, 1.06, edge));
}

function mixTo(from, to, part) {
  return from + (to - from) * part;
}

/** Blurs a little, as a scanner does, and adds its grain. */
function finish(raw, slice) {
  const grain = new Float32Array(SIZE * SIZE);
  let state = 88172645 + slice * 7919;
  const random = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4294967296;
  };
  for (let index = 0; index < grain.length; index += 1) grain[index] = (random() + random() + random() - 1.5) * 11;
  const wide = new Float32Array(SIZE * SIZE);
  const out = new Int16Array(SIZE * SIZE);
  for (let index = 1; index < raw.length - 1; index += 1) {
    wide[index] =
      (raw[index - 1] + 2 * raw[index] + raw[index + 1]) / 4 + (grain[index - 1] + 2 * grain[index] + grain[index + 1]) / 4;
  }
  wide[0] = wide[raw.length - 1] = AIR;
  for (let index = 0; index < raw.length; index += 1) {
    const above = wide[Math.max(index - SIZE, index % SIZE)];
    const below = wide[index + SIZE < raw.length ? index + SIZE : index];
    out[index] = Math.round((above + 2 * wide[index] + below) / 4);
  }
  return out;
}
