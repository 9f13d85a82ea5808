// The page's half of ../in_chromium.js: what ../../javascript/harness.js is in Node.js, for the same scripts.
import NunDb from 'nun-db';
import { clientMaker, messagesOf, outcome, sleep, until } from '../../javascript/helpers.js';

export { outcome, sleep, until };
export const options = await window.testOptions();
export const unhandled = [];
export const newClient = clientMaker(NunDb);
export const listenTo = messagesOf;

window.addEventListener('unhandledrejection', (event) => {
  unhandled.push(String(event.reason?.message ?? event.reason));
  event.preventDefault();
});

export const report = (event, details = {}) => window.testReport(event, details);
export const ask = (event, details = {}) => window.testAsk(event, details);

export function main(run) {
  run().then(
    (result) => report('done', { result, unhandled }),
    (error) => report('failed', { error: String(error?.stack ?? error), unhandled }),
  );
}
