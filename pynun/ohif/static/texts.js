// Everything that the bar and the button say. `nunDb.texts` in app-config.js replaces any of it, in any language.

const TEXTS = {
  bar: 'Live collaboration',
  connecting: 'Connecting…',
  connected: 'Connected',
  lost: 'Connection lost, trying again. You go on alone; what you move now is sent later.',
  refused: 'Not connected: {reason}',
  off: 'Live collaboration is off',
  turnOn: 'Turn on',
  turnOff: 'Turn off',
  everybody: 'Everybody moves',
  youLead: 'You lead',
  leads: 'Following {name}',
  alone: 'On your own',
  aloneOf: 'On your own, {name} leads',
  away: 'The leader is away: everybody moves',
  watching: 'You may only watch',
  follow: 'Follow',
  letGo: 'Let go',
  takeOver: 'Take over',
  release: 'Stop leading',
  bring: 'Bring everybody here',
  raise: 'Raise hand',
  lower: 'Lower hand',
  needsRight: 'You may only watch: this user has no right to write',
  signIn: 'Sign in',
  signOut: 'Sign out',
  name: 'Name',
  token: 'Token',
  tokenHint: 'empty: guest',
  cancel: 'Cancel',
  you: '{name} (you)',
  guest: 'Guest {number}',
  latency: '{number} ms',
  raised: '{name} has raised a hand',
  handRaised: 'hand raised',
  made: '{name} made an annotation',
  removed: '{name} removed an annotation',
  joined: '{name} joined',
  left: '{name} left',
  leading: '{name} leads now',
  studyRefused: 'The others have opened a study that you may not open here.',
  toolbar: 'Live',
  toolbarHint: 'Show or hide live collaboration',
  more: 'More',
  hide: 'Hide this bar',
};

/** A text with names and numbers in it, in the place of `{word}`. */
export function say(texts, name, values = {}) {
  const text = texts[name] ?? TEXTS[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, word) => String(values[word] ?? ''));
}
