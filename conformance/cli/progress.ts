/** A progress line on stderr where it is a terminal; nothing elsewhere. */
export interface Progress {
  /** Replaces the line. */
  update(text: string): void;
  /** Removes the line. */
  end(): void;
}

const SILENT: Progress = { update() {}, end() {} };

/** Shows `text` on one line, at most ten times a second. */
export function progressLine(stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return SILENT;
  let last = 0;
  return {
    update(text) {
      const now = Date.now();
      if (now - last < 100) return;
      last = now;
      stream.write(`\r\x1b[K${text.slice(0, (stream.columns || 80) - 1)}`);
    },
    end() {
      stream.write('\r\x1b[K');
    },
  };
}
