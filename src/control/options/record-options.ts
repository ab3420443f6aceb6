/** The shape of the option `record`. */

/** Where a recording goes, and what is in it. */
export interface RecordOptions {
  /** The file; there may be none of that name. In a folder that exists a file is named by the date. */
  readonly file: string;
  /** Payload is in it (true); otherwise lengths stand for it, except for what our own services read: DNS, DHCP, TFTP. */
  readonly payload?: boolean | undefined;
}

/** The same with its defaults. */
export interface ResolvedRecord {
  readonly file: string;
  readonly payload: boolean;
}
