// What a user may and may not do, as the promises tell it.
import { ask, listenTo, main, newClient, options, outcome, until } from './harness.js';

const { url, database, token } = options;
const DENIED = 'error permission denied\n \n';

main(async () => {
  const owner = newClient(url, database, token);
  await owner.set('client-greeting', 'set by the owner');
  await owner.set('name', 'Maria');

  const client = newClient(url, database, 'client', 'client-pwd');
  // `get`, not `getValue`: that one's `ok` comes when its promise has ended already, and ends the promise of the change
  // sent next, before it is known how that one went.
  const may = {
    keys: await outcome(client.keys('*me')),
    read: await outcome(client.get('name').then(({ value }) => value)),
    writeOwn: await outcome(client.set('client-greeting', 'set by the client').then(({ value }) => value)),
  };
  const mayNot = {
    write: await outcome(client.set('name', 'Jose')),
    writeVersion: await outcome(client.setValueSafe('name', 'Jose', 5)),
  };
  // These two have no promise of their own. What is refused to them ends the promise of whatever is asked next, so the
  // refusals are awaited before.
  const messages = listenTo(client);
  await client.remove('name');
  await client.increment('client-greeting');
  await until(() => messages.filter((message) => message === DENIED).length >= 2);
  const afterwards = { name: await client.getValue('name'), greeting: await client.getValue('client-greeting') };

  const stranger = newClient(url, database, 'stranger', 'stranger-pwd');
  const denied = {
    getValue: await outcome(stranger.getValue('name')),
    set: await outcome(stranger.set('name', 'Jose')),
  };
  // The promise of `watch` ends well when it is sent; the refusal is a rejection that nobody can wait for.
  const events = [];
  const heard = listenTo(stranger);
  const watch = await outcome(stranger.watch('name', ({ value }) => events.push(value)));
  await until(() => heard.includes(DENIED));
  await owner.set('name', 'not for strangers');

  // A permission that is given now counts on the same connection.
  await ask('give');
  const given = { getValue: await outcome(stranger.getValue('name')) };
  await stranger.watch('name', ({ value }) => events.push(value));
  await owner.set('name', 'for strangers too');
  await until(() => events.length >= 2); // both callbacks: the client does not know that its first watch was refused

  // One that is taken away, too: the watch goes silent.
  await ask('take');
  await owner.set('name', 'not for strangers any more');
  const taken = { getValue: await outcome(stranger.getValue('name')) };
  return { may, mayNot, afterwards, denied, watch, given, taken, events };
});
