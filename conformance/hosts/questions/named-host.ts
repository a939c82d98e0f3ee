/** A host as the questions see it: what it offers, by the name in answers. */
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';

export interface NamedHost {
  /** Exact id, e.g. `lab:6.12.107+deb13/EPYC`, `recorded:EPYC/6.12.107+deb13`. */
  readonly id: string;
  readonly host: HostCapabilities;
  /** As of `Host`. */
  readonly origin?: string;
}
