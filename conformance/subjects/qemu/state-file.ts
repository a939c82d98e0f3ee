/** A QEMU's migration stream to a file and back, over a unix socket: hosts need no shell for it, and every release can do it. */
import { createReadStream, createWriteStream } from 'node:fs';
import { connect, createServer } from 'node:net';
import { finished, pipeline } from 'node:stream/promises';

/** Listens on `socket` for one stream and writes it to `file`. `whole` settles once the stream has ended and the file is closed. */
export async function fileSink(socket: string, file: string): Promise<{ readonly whole: Promise<void> }> {
  const server = createServer();
  const whole = new Promise<void>((resolve, reject) => {
    server.once('connection', (stream) => {
      server.close();
      pipeline(stream, createWriteStream(file)).then(resolve, reject);
    });
  });
  whole.catch(() => {});
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, resolve);
  });
  // A stream that never comes keeps no process alive.
  server.unref();
  return { whole };
}

/** Sends `file` to whoever listens on `socket`. Rejects where that one closes before its end. */
export async function sendFile(file: string, socket: string): Promise<void> {
  const stream = connect(socket);
  const input = createReadStream(file);
  await Promise.all([pipeline(input, stream), finished(stream.resume())]);
}
