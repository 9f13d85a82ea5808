// The client's own test suite, unmodified, as it lies in its package: it wants a database `sample`, some users, and a
// server on a fixed port, instead of which its clients get the test's.
import { createRequire } from 'node:module';
import * as chai from 'chai';
import Mocha from 'mocha';
import NunDb from 'nun-db';
import { main, options } from './harness.js';

globalThis.expect = chai.expect;
globalThis.NunDb = class extends NunDb {
  constructor(...args) {
    if (typeof args[0] === 'object') super({ ...args[0], url: options.url });
    else super(options.url, ...args.slice(1));
  }
};

main(async () => {
  const mocha = new Mocha({ reporter: class {}, ui: 'bdd', timeout: 30_000 });
  mocha.addFile(createRequire(import.meta.url).resolve('nun-db/specs/index.spec.js'));
  const results = [];
  await new Promise((resolve) => {
    mocha
      .run(resolve)
      .on('pass', (test) => results.push([test.title, 'passed']))
      .on('fail', (test, error) => results.push([test.title, String(error?.message ?? error)]));
  });
  return results;
});
