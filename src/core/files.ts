/**
 * Files of the host that guests may read, as the TFTP server sees them. Node's implementation is `host/files.ts`; what
 * lies outside its folder it refuses, whatever the name.
 *
 * No callback is ever called from inside the call that asked for it. Nothing here throws.
 */
export interface FileSource {
  /** Opens a regular file for reading. `name` is relative: components separated by `/`, none of them empty, `.` or `..`. */
  open(name: string, onOpen: (result: OpenFile | FileRefusal) => void): void;
}

/** There is no such file; or there is something that guests may not read. */
export type FileRefusal = "missing" | "refused";

export interface OpenFile {
  /** Bytes when it was opened. */
  readonly size: number;
  /**
   * Reads up to `into.length` bytes from offset `at`. `onRead` is given how many there were, fewer only at the file's
   * end, or -1 when reading failed. `into` belongs to the reader until then.
   */
  read(at: number, into: Uint8Array, onRead: (bytes: number) => void): void;
  /** A read that is under way is still called back. */
  close(): void;
}
