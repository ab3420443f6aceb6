/** The shape of the option `audit`. */

/** Where the audit goes, and what is in it. */
export interface AuditOptions {
  /** The file; what is there stays, and more is appended. */
  readonly file: string;
  /** Flows that rules have allowed, too (false). */
  readonly allowed?: boolean | undefined;
  /** Bytes after which it becomes FILE.1 and another file is begun (64 MB). */
  readonly rotateBytes?: number | undefined;
  /** How many of those before are kept (3). */
  readonly keepFiles?: number | undefined;
}

/** The same with its defaults. */
export interface ResolvedAudit {
  readonly file: string;
  readonly allowed: boolean;
  readonly rotateBytes: number;
  readonly keepFiles: number;
}
