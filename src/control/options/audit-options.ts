/** The shape of the option `audit`. */

/** The file of the audit, and what is written to it. */
export interface AuditOptions {
  /** The file. Lines are appended to it. */
  readonly file: string;
  /** Whether there is also a line for each flow that is allowed (false). */
  readonly allowed?: boolean | undefined;
  /** How many bytes the file may have before it becomes FILE.1, and a new one is begun (64 MB). */
  readonly rotateBytes?: number | undefined;
  /** How many older files are kept (3). */
  readonly keepFiles?: number | undefined;
}

/** The option with its defaults filled in. */
export interface ResolvedAudit {
  readonly file: string;
  readonly allowed: boolean;
  readonly rotateBytes: number;
  readonly keepFiles: number;
}
