// A style sheet that a Content-Security-Policy without inline styles allows.

export function styleSheet(text) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  return sheet;
}
