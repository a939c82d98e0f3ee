/** The agent as a program of its own: what `guest-abi agent` runs, and what hosts start directly, since starting costs time there. */
import { isWatched, WATCHED } from '../../ends-with-us.js';
import { interpretOnly, WITHOUT_COMPILERS } from './interpret.js';
import { serveAgent } from './server.js';
import { subjectHandlers } from './with-subjects.js';

if (process.argv.includes(WITHOUT_COMPILERS)) interpretOnly();
if (process.argv.includes(WATCHED)) isWatched();
const handlers = subjectHandlers();
await serveAgent(process.stdin, process.stdout, handlers);
await handlers[Symbol.asyncDispose]();
// Whoever asked is gone: a guest that is still awaited will not be asked for.
process.exit();
