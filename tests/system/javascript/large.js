// Reports more than a pipe holds.
import { main, options } from './harness.js';

main(async () => 'x'.repeat(options.characters));
