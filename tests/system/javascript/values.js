// Values as the client writes and reads them: `set` sends JSON with every white space as `^`, `get` undoes that.
import { main, newClient, options, outcome } from './harness.js';

main(async () => {
  const client = newClient(options.url, options.database, options.token);
  const read = {};
  for (const [name, value] of Object.entries(options.values)) {
    const written = await client.set(name, value);
    read[name] = { written: written.value, get: await client.get(name), getValue: await client.getValue(name) };
  }
  const keys = { all: await client.keys(), prefix: await client.keys('text-*'), none: await client.keys('nothing*') };
  const absent = { get: await client.get('absent'), getValue: await client.getValue('absent') };

  const versions = [];
  for (let number = 0; number < 3; number += 1) {
    await client.set('versioned', number + 1);
    versions.push((await client.get('versioned')).version);
  }
  await client.setValueSafe('versioned', 'given', 10);
  versions.push((await client.get('versioned')).version);

  // increment and remove do not wait for their answers; what is asked next is answered after them.
  await client.increment('counter');
  await client.increment('counter', 5);
  await client.increment('counter', -2);
  const counter = await client.getValue('counter');
  await client.remove('counter');
  await client.remove('never-there');
  const removed = { value: await client.getValue('counter'), keys: await client.keys('counter') };

  const basic = await outcome(client.setValueSafe('basic', 'plain text', -1, true));
  const plain = { basic, get: await client.get('basic'), getValue: await client.getValue('basic') };
  client.close();
  return { read, keys, absent, versions, counter, removed, plain };
});
