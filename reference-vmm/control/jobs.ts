/** QEMU's jobs (qapi/job.json): work that goes on behind a command, told by events, kept until it is dismissed. */
import type { EmitEvent } from './qmp-command.js';
import { command, type QmpCommands } from './qmp-command.js';
import { QmpError } from './qmp-error.js';

type JobStatus = 'created' | 'running' | 'waiting' | 'pending' | 'aborting' | 'concluded' | 'null';

interface Job {
  readonly id: string;
  readonly type: string;
  status: JobStatus;
  done: boolean;
  error?: string;
}

export class Jobs {
  readonly #jobs = new Map<string, Job>();
  readonly #emit: EmitEvent;

  constructor(emit: EmitEvent) {
    this.#emit = emit;
  }

  /** Runs `work`; comes back once it has begun. Throws `QmpError` where the id is taken or malformed. */
  start(id: string, type: string, work: () => Promise<void>): void {
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) throw new QmpError(`Invalid job ID '${id}'`);
    if (this.#jobs.has(id)) throw new QmpError(`Job ID '${id}' already in use`);
    const job: Job = { id, type, status: 'created', done: false };
    this.#jobs.set(id, job);
    this.#turn(job, 'created', 'running');
    void this.#run(job, work);
  }

  async #run(job: Job, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      job.done = true;
      this.#turn(job, 'waiting', 'pending', 'concluded');
    } catch (error) {
      job.error = (error as Error).message;
      this.#turn(job, 'aborting', 'concluded');
    }
  }

  #turn(job: Job, ...statuses: readonly JobStatus[]): void {
    for (const status of statuses) {
      job.status = status;
      this.#emit('JOB_STATUS_CHANGE', { status, id: job.id });
    }
  }

  #find(id: string): Job {
    const job = this.#jobs.get(id);
    if (!job) throw new QmpError('Job not found');
    return job;
  }

  #dismiss(id: string): void {
    const job = this.#find(id);
    if (job.status !== 'concluded')
      throw new QmpError(`Job '${id}' in state '${job.status}' cannot accept command verb 'dismiss'`);
    this.#jobs.delete(id);
    this.#turn(job, 'null');
  }

  get commands(): QmpCommands {
    return {
      'query-jobs': command({}, () =>
        [...this.#jobs.values()].map(({ id, type, status, done, error }) => ({
          ...{ id, type, status, 'current-progress': done ? 1 : 0, 'total-progress': 1 },
          ...(error !== undefined && { error }),
        })),
      ),
      'job-dismiss': command({ id: 'string' }, ({ id }: { id: string }) => this.#dismiss(id)),
    };
  }
}
