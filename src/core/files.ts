/**
 * Files of the host that guests may read, as the TFTP server sees them. Node's implementation is `host/files.ts`, which
 * refuses every file outside its folder, whatever its name.
 *
 * No callback is ever called from inside the call that asked for it. Nothing here throws.
 */
export interface FileSource {
  /** Opens a regular file for reading. `name` is relative: components separated by `/`, none of them empty, `.` or `..`. */
  open(name: string, onOpen: (result: OpenFile | FileRefusal) => void): void;
}

/** `missing`: there is no such file. `refused`: it exists, but guests may not read it. */
export type FileRefusal = "missing" | "refused";

export interface OpenFile {
  /** The file's length in bytes when it was opened. */
  readonly size: number;
  /**
   * Reads up to `into.length` bytes from offset `at`. `onRead` gets their number, fewer only at the file's end, or -1
   * when reading failed. Until then `into` must not be touched.
   */
  read(at: number, into: Uint8Array, onRead: (bytes: number) => void): void;
  /** Closes the file. A read under way is still called back. */
  close(): void;
}
