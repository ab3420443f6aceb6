/** The type of the option `record`. */

/** The file of a recording, and what it contains. */
export interface RecordOptions {
  /** The file, which must not exist. If this is an existing folder, a file named by the date is made in it. */
  readonly file: string;
  /**
   * Whether the recording contains payload (true). If not, it has only the lengths, except for payload that the
   * network's own services read: DNS, DHCP, TFTP.
   */
  readonly payload?: boolean | undefined;
}

/** The option with its defaults filled in. */
export interface ResolvedRecord {
  readonly file: string;
  readonly payload: boolean;
}
