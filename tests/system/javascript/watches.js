// Watches: with and without the current value, several on one key, the client's own changes, removal, counters, the
// live count of connections.
import { main, newClient, options, until } from './harness.js';

const connect = () => newClient(options.url, options.database, options.token);

/** A list that a watch fills with [value, version]. */
function collector() {
  const events = [];
  return { events, callback: ({ value, version }) => events.push([value, version]) };
}

main(async () => {
  const writer = connect();
  const reader = connect();
  await writer.set('present', { note: 'before the watch' });

  const [plain, current, absent, second, own] = Array.from({ length: 5 }, collector);
  await reader.watch('present', plain.callback);
  await reader.watch('present', current.callback, true);
  await reader.watch('absent', absent.callback, true);
  await reader.watch('present', second.callback);
  await writer.watch('present', own.callback);
  await until(() => current.events.length === 1 && absent.events.length === 1);
  const atFirst = { plain: [...plain.events], current: [...current.events], absent: [...absent.events] };

  await writer.set('present', 'first');
  await writer.set('present', 'with two blanks');
  await writer.set('absent', 'now it is there');
  await until(() => absent.events.length === 2);
  await reader.set('present', 'by the reader');
  await until(() => own.events.length === 1);

  const gone = collector();
  await reader.watch('gone', gone.callback);
  await writer.set('gone', 1);
  await writer.set('gone', 2);
  await writer.remove('gone');
  await writer.set('gone', 3);
  await until(() => gone.events.length === 3);

  const counter = collector();
  await reader.watch('counter', counter.callback);
  await writer.increment('counter');
  await writer.increment('counter', 41);
  await until(() => counter.events.length === 2);

  const connections = collector();
  await reader.watch('$connections', connections.callback, true);
  await until(() => connections.events.length === 1);
  const third = connect();
  await until(() => connections.events.length === 2);
  third.close();
  await until(() => connections.events.length === 3);

  // A key on which more than one callback waits is watched once: what is asked after all that brings no late event.
  await reader.get('present');
  return {
    atFirst,
    plain: plain.events,
    current: current.events,
    second: second.events,
    absent: absent.events,
    own: own.events,
    gone: gone.events,
    counter: counter.events,
    connections: connections.events.map(([value]) => value),
  };
});
