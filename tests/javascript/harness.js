// What every script here shares: reports to the test that started it as lines of JSON on standard output; options and
// orders from it as lines on standard input. Nothing else is ever written to standard output: the client
// prints there, and is sent to standard error instead.
import readline from 'node:readline';
import NunDb from 'nun-db';

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

let clients = 0;

/**
 * A client as it comes from the package, as if it had been made a day after the one before. The client numbers its
 * changes from the millisecond it was made in, and ignores an event whose number it has used itself: of two that are
 * made within the same second, each overlooks changes of the other (shown in burst.js). People open their viewers
 * further apart.
 */
export function newClient(...args) {
  const client = new NunDb(...args);
  clients += 1;
  client._start += clients * 86_400_000;
  return client;
}

/** Everything the server says to a client from now on, as it arrives: the client tells it to its logger. */
export function listenTo(client) {
  const messages = [];
  client._setLoggers({
    log: (what, data) => what === 'Message received' && messages.push(data),
    error: () => {},
  });
  return messages;
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until a condition holds; the test's own deadline is what ends a wait in vain. */
export async function until(condition) {
  for (let result = await condition(); ; result = await condition()) {
    if (result) return result;
    await sleep(5);
  }
}

/** How a promise ended: {value}, or {error} with the error's message as it is, blanks included. */
export async function outcome(promise) {
  try {
    return { value: await promise };
  } catch (error) {
    return { error: String(error?.message ?? error) };
  }
}

/** Runs a script: its result is reported as `done`, its failure as `failed`. */
export function main(run) {
  run().then(
    (result) => {
      report('done', { result, unhandled });
      process.stdout.write('', () => process.exit(0));
    },
    (error) => {
      report('failed', { error: String(error?.stack ?? error), unhandled });
      process.stdout.write('', () => process.exit(1));
    },
  );
}
