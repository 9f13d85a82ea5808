// A client whose server goes away and comes back, and one that goes offline itself.
import { ask, main, newClient, options, outcome, sleep, until } from './harness.js';

const { url, database, token } = options;
// The client tries again a second after a close, and does not know whether it has tried already: going online sooner
// would make two connections.
const RECONNECT_MILLISECONDS = 1000;

main(async () => {
  const client = newClient(url, database, token);
  const seen = [];
  await client.watch('watched', ({ value }) => seen.push(value));
  await client.watch('other', ({ value }) => seen.push(value));
  const conflicts = [];
  await client.becameArbiter((conflict) => {
    conflicts.push(conflict.key);
    return { value: conflict.values.map(({ value }) => value).join(' and ') };
  });
  await client.set('kept', 'before');
  await ask('watching', { value: await client.getValue('kept') });
  await until(() => seen.length === 1);

  // The server goes: what is set now cannot be sent, and waits in the client.
  await ask('leave');
  await until(() => !client._connected);
  const pending = [
    await outcome(client.set('pending', 'set while it was away')),
    await outcome(client.set('kept', 'after')),
  ];
  await ask('return');
  const returned = performance.now();
  await until(() => client._connected);
  const milliseconds = performance.now() - returned;
  await client.keys(); // answered when the watches, the arbiter and the pending values have been
  const pushed = [await client.getValue('pending'), await client.getValue('kept')];
  await ask('back', { milliseconds, pending, pushed });
  await until(() => seen.length === 3 && conflicts.length === 1);

  // It goes offline of its own accord.
  client.goOffline();
  await until(() => !client._connected);
  await ask('offline');
  const offline = await outcome(client.set('offline', 'set while offline'));
  await sleep(RECONNECT_MILLISECONDS + 200);
  const stayed = !client._connected;
  client.goOnline();
  await until(() => client._connected);
  await client.keys();
  await ask('online', { offline, stayed, pushed: await client.getValue('offline') });
  await until(() => seen.length === 4);
  return { seen, conflicts, connections: await client.getValue('$connections') };
});
