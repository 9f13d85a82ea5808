// JSON made readable and short again by its white space only: numbers and names stay as they were written.

export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** With line breaks and indents, if it is JSON. */
export function pretty(text) {
  if (!isJson(text)) return text;
  const parts = [];
  let depth = 0;
  let last = ':'; // nothing is before the first part
  for (const token of tokens(text)) {
    const isEnd = token === '}' || token === ']';
    const isFirst = last === '{' || last === '[';
    if (isEnd) depth -= 1;
    if (last === ',' || isFirst !== isEnd && (isFirst || isEnd)) parts.push(`\n${'  '.repeat(depth)}`);
    parts.push(token === ':' ? ': ' : token);
    if (token === '{' || token === '[') depth += 1;
    last = token;
  }
  return parts.join('');
}

/** On one line, without white space between its parts, if it is JSON. */
export function compact(text) {
  return isJson(text) ? [...tokens(text)].join('') : text;
}

function* tokens(text) {
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) yield token;
}
