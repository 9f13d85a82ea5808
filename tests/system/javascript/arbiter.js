// Conflicts of a database with the strategy `arbiter`, resolved by the callback of a client.
import { listenTo, main, newClient, options, until } from './harness.js';

// The client names the window's `name` when an event is not JSON, as the record of a resolved conflict is not: without
// one, as in Node.js, it would end the process.
globalThis.name = '';

const { url, database, token, count } = options;
const connect = () => newClient(url, database, token);

/**
 * Sets a value at a version from a client of its own, and returns the server's answer. A conflict is an error that the
 * client does not know: it neither resolves nor rejects the promise, and the next answer would be taken for this one.
 */
async function setOnce(key, value, version) {
  const client = connect();
  await client._connectionPromise;
  const messages = listenTo(client);
  client.setValueSafe(key, value, version);
  await until(() => messages.length > 0);
  client.close();
  return messages[0];
}

main(async () => {
  const reader = connect();
  const withoutArbiter = [
    await setOnce('lonely', { name: 'first' }, 5),
    await setOnce('lonely', { name: 'second' }, 5),
    (await reader.get('lonely')).value,
  ];

  const asked = [];
  const arbiter = connect();
  const arbiterMessages = listenTo(arbiter);
  await arbiter.becameArbiter((conflict) => {
    asked.push(conflict);
    return { value: { name: conflict.values.map(({ value }) => value.name).join(' and ') } };
  });
  await until(() => arbiterMessages.length > 0);

  const seen = [];
  await reader.watch('key', ({ value, version }) => seen.push([value, version]));
  await reader.keys();
  const answers = [await setOnce('key', { name: 'one' }, 100), await setOnce('key', { name: 'two' }, 100)];
  await until(() => seen.length === 2);
  const resolved = await reader.get('key');
  const after = [await setOnce('key', { name: 'three' }, resolved.version), (await reader.get('key')).value];

  // Many conflicts of one key, not one waiting for another: each is resolved with the outcome of the one before.
  const names = Array.from({ length: count }, (_, number) => `name-${number}`);
  const crowd = connect();
  await crowd._connectionPromise;
  for (const name of names) crowd.setValueSafe('crowd', { name }, 100);
  const final = await until(async () => {
    const { value, version } = await reader.get('crowd');
    return version !== -2 && names.every((name) => value.name.split(' and ').includes(name)) && value.name;
  });

  return {
    withoutArbiter,
    answers,
    asked: asked.slice(0, 1),
    seen,
    resolved,
    after,
    crowd: final.split(' and '),
    askedCount: asked.length,
    unresolved: (await reader.keys('$conflicts_')).length,
  };
});
