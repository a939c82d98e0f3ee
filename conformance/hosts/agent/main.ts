/** The agent as a program of its own: what `guest-abi agent` runs, and what hosts start directly, since starting costs time there. */
import { kvmHandlers } from './handlers.js';
import { serveAgent } from './server.js';

await serveAgent(process.stdin, process.stdout, kvmHandlers());
