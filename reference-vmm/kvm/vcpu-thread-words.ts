/** What a thread that runs vCPUs shares with the thread that it serves: words of memory, because a message costs more than an exit. */

/** Places in `control`. */
export const CONTROL = {
  /** How often it was told to run; it waits for this to change. */
  launches: 0,
  /** The vCPU's file descriptor; below 0: end. */
  vcpu: 1,
  /** `launches` as it was when KVM_RUN last came back. */
  landed: 2,
  /** Of that KVM_RUN; 0 = the exit stands in the vCPU's page. */
  errno: 3,
  /** The kernel's id of the thread; 0 until it is ready. */
  threadId: 4,
} as const;

export interface ThreadWords {
  readonly control: Int32Array;
  /** One word for all threads: how many KVM_RUNs came back; the thread that they serve waits for it to change. */
  readonly landings: Int32Array;
}

const words = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(count * 4));

export const controlWords = (): Int32Array => words(Object.keys(CONTROL).length);
export const landingWord = (): Int32Array => words(1);
