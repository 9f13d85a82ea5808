// The keys of a database as a tree by prefix. Only what is visible is ever looked at, so 100,000 keys cost little.

const SEPARATORS = new Set([...'-_/.:|'].map((character) => character.charCodeAt(0)));
const DOLLAR = '$'.charCodeAt(0);

export class KeyTree {
  #keys = [];
  #expanded = new Set();
  #filter = '';
  #rows = null;

  get size() {
    return this.#keys.length;
  }

  has(key) {
    const place = this.#place(key);
    return this.#keys[place] === key;
  }

  clear() {
    this.#keys = [];
    this.#expanded.clear();
    this.#rows = null;
  }

  /** Adds many keys, in any order. */
  addAll(keys) {
    const last = this.#keys.at(-1);
    const isBehind = keys.length > 0 && (last === undefined || keys[0] > last);
    this.#keys.push(...keys);
    if (!isBehind || !isSorted(this.#keys, this.#keys.length - keys.length)) {
      this.#keys = [...new Set(this.#keys)].sort(compare);
    }
    this.#rows = null;
  }

  add(key) {
    const place = this.#place(key);
    if (this.#keys[place] === key) return;
    this.#keys.splice(place, 0, key);
    this.#rows = null;
  }

  remove(key) {
    const place = this.#place(key);
    if (this.#keys[place] !== key) return;
    this.#keys.splice(place, 1);
    this.#rows = null;
  }

  get filter() {
    return this.#filter;
  }

  set filter(text) {
    this.#filter = text;
    this.#rows = null;
  }

  toggle(prefix, isExpanded = !this.#expanded.has(prefix)) {
    if (isExpanded) this.#expanded.add(prefix);
    else this.#expanded.delete(prefix);
    this.#rows = null;
  }

  /** The visible rows: {key, label, level} or {prefix, label, level, count, isExpanded}. */
  get rows() {
    if (this.#rows === null) {
      this.#rows = [];
      if (this.#filter) {
        const matches = matcher(this.#filter);
        for (const key of this.#keys) {
          if (matches(key)) this.#rows.push({ key, label: key, level: 1 });
        }
      } else {
        this.#collect(0, this.#keys.length, 0, 1);
      }
    }
    return this.#rows;
  }

  /** The keys that the filter finds; all of them without one. */
  get found() {
    return this.#filter ? this.rows.map(({ key }) => key) : [...this.#keys];
  }

  #collect(from, to, start, level) {
    const keys = this.#keys;
    for (let place = from; place < to; ) {
      const key = keys[place];
      let prefix = prefixOf(key, start);
      const isAlone = prefix === null || place + 1 >= to || !keys[place + 1].startsWith(prefix);
      const end = isAlone ? place + 1 : this.#endOf(prefix, place, to);
      if (end - place > 1) prefix = commonPrefix(key, keys[end - 1], prefix);
      if (end - place < 2) {
        this.#rows.push({ key, label: key.slice(start), level });
        place += 1;
        continue;
      }
      const isExpanded = this.#expanded.has(prefix);
      this.#rows.push({ prefix, label: prefix.slice(start), level, count: end - place, isExpanded });
      if (isExpanded) this.#collect(place, end, prefix.length, level + 1);
      place = end;
    }
  }

  /** Where the keys that begin with the prefix end; one that does is at `from`. */
  #endOf(prefix, from, to) {
    let low = from + 1;
    let high = to;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle].startsWith(prefix)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #place(key) {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle] < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Tells whether a key matches: `text*` at its beginning, `*text` at its end, other text anywhere, in any case. */
function matcher(filter) {
  const text = filter.toLowerCase();
  const wanted = text.replaceAll('*', '');
  if (text.endsWith('*')) return (key) => key.toLowerCase().startsWith(wanted);
  if (text.startsWith('*')) return (key) => key.toLowerCase().endsWith(wanted);
  return (key) => key.toLowerCase().includes(wanted);
}

/** The part of a key up to its next separator, or null; a separator at the very start belongs to the name. */
function prefixOf(key, start) {
  const last = key.length - 1;
  let at = start;
  while (at < last && (SEPARATORS.has(key.charCodeAt(at)) || key.charCodeAt(at) === DOLLAR)) at += 1;
  while (at < last && !SEPARATORS.has(key.charCodeAt(at))) at += 1;
  return at >= last ? null : key.slice(0, at + 1);
}

/** The longest prefix of both that ends in a separator; they have `prefix` in common. */
function commonPrefix(one, other, prefix) {
  let length = prefix.length;
  for (let at = length; at < one.length - 1 && at < other.length - 1 && one[at] === other[at]; at += 1) {
    if (SEPARATORS.has(one.charCodeAt(at))) length = at + 1;
  }
  return one.slice(0, length);
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

function isSorted(keys, from) {
  for (let place = Math.max(1, from); place < keys.length; place += 1) {
    if (keys[place - 1] >= keys[place]) return false;
  }
  return true;
}
