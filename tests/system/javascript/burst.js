// Many changes without waiting for one answer.
import NunDb from 'nun-db';
import { main, newClient, options, until } from './harness.js';

const { url, database, token, count } = options;
const numbers = Array.from({ length: count }, (_, number) => number);

main(async () => {
  const writer = newClient(url, database, token);
  const watcher = newClient(url, database, token);
  const [one, many, values, versions] = [[], [], [], []];
  await watcher.watch('one', ({ value, version }) => {
    one.push(value);
    versions.push(Number(version));
  });
  await watcher.watch('last', ({ value }) => values.push(value));
  for (const number of numbers) {
    await watcher.watch(`many-${number}`, ({ name, value }) => many.push([name, value]));
  }
  await watcher.keys(); // answered when all watches are

  const written = await Promise.all(numbers.map((number) => writer.set('one', { number })));
  await Promise.all(numbers.map((number) => writer.set(`many-${number}`, `value ${number}`)));
  // All 200 of one key and all 200 keys, mixed with reads.
  const reads = await Promise.all(
    numbers.map(async (number) => {
      await writer.set('last', number + 1);
      return writer.get(`many-${number}`);
    }),
  );
  await until(() => one.length >= count && many.length >= count && values.at(-1) === count);

  // Two clients made in the same millisecond, as two windows that open together: see newClient in harness.js.
  const left = new NunDb(url, database, token);
  const right = new NunDb(url, database, token);
  right._start = left._start;
  const seen = [];
  await right.watch('twins', ({ value }) => seen.push(value));
  await right.set('elsewhere', 'number 1 of the right one');
  for (const text of ['number 1', 'number 2']) await left.set('twins', text);
  await until(() => seen.length > 0);

  return {
    written: written.map(({ value }) => value.number),
    one: one.map(({ number }) => number),
    versions,
    many,
    reads: reads.map(({ value, version }) => [value, version]),
    final: await writer.get('one'),
    twins: seen,
  };
});
