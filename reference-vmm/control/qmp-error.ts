/** Errors as QMP tells them. */

/** QEMU's error classes that this monitor uses (qapi/error.json, QapiErrorClass). */
export type QmpErrorClass = 'GenericError' | 'CommandNotFound' | 'DeviceNotFound';

/** A command's `error` reply. */
export class QmpError extends Error {
  readonly qmpClass: QmpErrorClass;

  constructor(description: string, qmpClass: QmpErrorClass = 'GenericError') {
    super(description);
    this.qmpClass = qmpClass;
  }
}
