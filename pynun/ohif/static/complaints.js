// What goes to the browser's console: where something failed, and never what an error says, which may name an image.

export function complain(what, error) {
  const places = String(error?.stack ?? '')
    .split('\n')
    .filter((line) => /\.js(:|\?)/.test(line))
    .slice(0, 5);
  console.warn([`nun-db-sync: ${what}`, error?.name, ...places].filter(Boolean).join('\n'));
}
