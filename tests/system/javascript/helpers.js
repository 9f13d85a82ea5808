// What the scripts need wherever they run, in Node.js or in a page.

/**
 * Makes clients as they come from the package, each as if it had been made a day after the one before. The client
 * numbers its changes from the millisecond it was made in, and ignores an event whose number it has used itself: of two
 * that are made within the same second, each overlooks changes of the other (shown in burst.js). People open their
 * viewers further apart.
 */
export function clientMaker(NunDb) {
  let made = 0;
  return (...args) => {
    const client = new NunDb(...args);
    made += 1;
    client._start += made * 86_400_000;
    return client;
  };
}

/** Everything the server says to a client from now on, as it arrives: the client tells it to its logger. */
export function messagesOf(client) {
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
    await sleep(20);
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
