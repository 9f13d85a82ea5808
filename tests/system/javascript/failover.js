// A client at a node of a cluster, which sets one value after another without waiting while the owner is replaced.
import { ask, main, newClient, options, outcome, sleep } from './harness.js';

main(async () => {
  const client = newClient(options.url, options.database, options.token);
  const seen = [];
  await client.watch('watched', ({ value }) => seen.push(value));
  await client.set('read', 'as it was');
  const connection = client._connection;
  let isOver = false;
  const isAnswered = ask('working').then(() => {
    isOver = true;
  });
  const sets = [];
  const reads = [];
  for (let number = 0; !isOver; number += 1) {
    sets.push(outcome(client.set('mine', number)));
    reads.push(client.get('read').then(({ value }) => value));
    await sleep(5);
  }
  await isAnswered;
  const errors = (await Promise.all(sets)).filter(({ error }) => error !== undefined);
  return {
    seen,
    errors: errors.map(({ error }) => error.trim()),
    reads: [...new Set(await Promise.all(reads))],
    value: await client.get('watched'),
    pending: client._pendingPromises.length,
    isSame: client._connection === connection && connection.readyState === 1,
  };
});
