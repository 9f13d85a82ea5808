// What every script here shares: reports to the test that started it as lines of JSON on standard output; options and
// orders from it as lines on standard input. Nothing else is ever written to standard output: the client prints there,
// and is sent to standard error instead. In a browser, ../browser/pages/harness.js takes this one's place.
import readline from 'node:readline';
import NunDb from 'nun-db';
import { clientMaker, messagesOf, outcome, sleep, until } from './helpers.js';

export { outcome, sleep, until };
export const newClient = clientMaker(NunDb);
export const listenTo = messagesOf;

console.log = console.error;

/** Rejections that nobody waits for: the client leaves some behind, and Node.js would end on the first. */
export const unhandled = [];
process.on('unhandledRejection', (error) => unhandled.push(String(error?.message ?? error)));

const orders = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function nextOrder() {
  const { value, done } = await orders.next();
  if (done) throw new Error('the test went away');
  return JSON.parse(value);
}

/** What the test gave to this run. */
export const options = await nextOrder();

/** Tells the test something. */
export function report(event, details = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...details })}\n`);
}

/** Tells the test something, and waits until it says to go on; returns its order. */
export async function ask(event, details = {}) {
  report(event, details);
  return nextOrder();
}

/** Runs a script: its result is reported as `done`, its failure as `failed`. */
export function main(run) {
  run().then(
    (result) => end('done', { result }, 0),
    (error) => end('failed', { error: String(error?.stack ?? error) }, 1),
  );
}

function end(event, details, code) {
  report(event, { ...details, unhandled });
  exit(code);
}

/** Ends the process once the test has read every report: process.exit alone drops what a full pipe did not take. */
export function exit(code) {
  process.stdout.write('', () => process.exit(code));
}
