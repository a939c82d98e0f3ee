/** The agent as a program of its own: what `guest-abi agent` runs, and what hosts start directly, since starting costs time there. */
import { kvmHandlers } from './handlers.js';
import { serveAgent } from './server.js';

const handlers = kvmHandlers();
await serveAgent(process.stdin, process.stdout, handlers);
handlers[Symbol.dispose]();
// Whoever asked is gone: a guest that is still awaited will not be asked for.
process.exit();
