// Every way the client can log in, and every refusal as it reaches the promises.
import { main, newClient, options, outcome } from './harness.js';

const { url, database, token, user, userToken, admin, adminPassword } = options;

/** Whether a client got in: what it then reads, or the error its promise ends with. */
const read = (client) => outcome(client.getValue('greeting'));

main(async () => {
  const writer = newClient(url, database, token);
  await writer.set('greeting', 'hello');

  const accepted = {
    token: await read(newClient(url, database, token)),
    tokenByName: await read(newClient({ url, db: database, token })),
    user: await read(newClient(url, database, user, userToken)),
    userByName: await read(newClient({ url, db: database, user, token: userToken })),
    admin: await read(newClient({ url, db: database, token, user: admin, pwd: adminPassword })),
  };

  const asAdmin = newClient({ url, db: database, token, user: admin, pwd: adminPassword });
  await asAdmin.createDb(options.newDatabase, 'new-token');
  await asAdmin.getValue('greeting'); // answered after the creation
  const created = await outcome(newClient(url, options.newDatabase, 'new-token').keys());

  const refused = {
    token: await outcome(newClient(url, database, 'wrong').set('greeting', 'never')),
    user: await outcome(newClient(url, database, 'nobody', userToken).set('greeting', 'never')),
    userToken: await outcome(newClient(url, database, user, 'wrong').getValue('greeting')),
    watch: await outcome(newClient(url, database, 'wrong').watch('greeting', () => {})),
  };

  // Refused once, the same connection may still log in.
  const patient = newClient(url, database, 'wrong');
  const first = await outcome(patient._connectionPromise);
  const again = await outcome(patient.useDb(database, token));
  patient._connectionPromise = Promise.resolve();
  const afterwards = { first, again, value: await patient.getValue('greeting') };

  return { accepted, created, refused, afterwards };
});
