/** How far a migration is: figures that its source keeps, as `query-migrate` of QEMU names them. */

export type MigrationStatus =
  | 'setup'
  | 'active'
  /** The guest is stopped. */
  | 'device'
  | 'completed'
  | 'failed'
  | 'cancelled'
  /** The state was handed over and no confirmation came: the guest stays stopped here, and may run at the destination. */
  | 'unknown';

export class MigrationProgress {
  #status: MigrationStatus = 'setup';
  readonly #tell: (status: MigrationStatus) => void;
  readonly #start = performance.now();
  #stopped: number | null = null;
  /** Bytes of all messages. */
  transferred = 0;
  /** Of memory that is known to have been written and was not sent. */
  remaining = 0;
  /** Rounds over the memory. */
  rounds = 0;
  /** Pages sent with their bytes, sent as zero, and found as the destination has them. */
  pages = { full: 0, zero: 0, skipped: 0 };
  /** Pages a second that the guest wrote during the last round. */
  dirtyPagesRate = 0;
  /** Bytes a second over the last round; 0 = not known yet. */
  bandwidth = 0;
  /** Milliseconds that what is left would take. */
  expectedDowntime = 0;
  /** Milliseconds until the destination had accepted. */
  setupMs = 0;
  /** Milliseconds from the guest's last instruction here until the destination said that it runs; null until then. */
  downtimeMs: number | null = null;
  totalMs = 0;

  /** `tell` hears of each status from the second on. */
  constructor(tell: (status: MigrationStatus) => void = () => undefined) {
    this.#tell = tell;
  }

  get status(): MigrationStatus {
    return this.#status;
  }

  #turn(status: MigrationStatus): void {
    this.#status = status;
    this.#tell(status);
  }

  accepted(): void {
    this.setupMs = this.elapsed();
    this.#turn('active');
  }

  stop(): void {
    this.#stopped = performance.now();
    this.#turn('device');
  }

  runsThere(): void {
    this.downtimeMs = performance.now() - this.#stopped!;
  }

  end(status: MigrationStatus): void {
    this.totalMs = this.elapsed();
    this.#turn(status);
  }

  elapsed(): number {
    return performance.now() - this.#start;
  }
}
