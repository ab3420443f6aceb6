/** Files in memory for scripts: `FileSource` whose answers come when the test says `run()`, and not before. */
import type { FileRefusal, FileSource, OpenFile } from "../../src/core/files.ts";

export class FakeFiles implements FileSource {
  /** A size of more than the bytes there are is a file that has shrunk since it was opened. */
  readonly contents: Map<string, { readonly bytes: Uint8Array; readonly size?: number } | FileRefusal> = new Map();
  /** Names that were asked for. */
  readonly asked: string[] = [];
  openFiles = 0;
  readonly #due: (() => void)[] = [];

  /** As text in Latin-1, or bytes. */
  put(name: string, content: Uint8Array | string): void {
    this.contents.set(name, { bytes: typeof content === "string" ? Buffer.from(content, "latin1") : content });
  }

  open(name: string, onOpen: (result: OpenFile | FileRefusal) => void): void {
    this.asked.push(name);
    this.#due.push(() => {
      const content = this.contents.get(name) ?? "missing";
      if (typeof content === "string") return onOpen(content);
      this.openFiles++;
      onOpen(new FakeFile(content.bytes, content.size ?? content.bytes.length, this.#due, () => this.openFiles--));
    });
  }

  /** Answers all that has been asked, and what is asked meanwhile. */
  run(): void {
    for (let next = this.#due.shift(); next !== undefined; next = this.#due.shift()) next();
  }
}

class FakeFile implements OpenFile {
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #due: (() => void)[];
  readonly #onClose: () => void;

  constructor(bytes: Uint8Array, size: number, due: (() => void)[], onClose: () => void) {
    this.#bytes = bytes;
    this.size = size;
    this.#due = due;
    this.#onClose = onClose;
  }

  read(at: number, into: Uint8Array, onRead: (bytes: number) => void): void {
    this.#due.push(() => {
      const piece = this.#bytes.subarray(at, at + into.length);
      into.set(piece);
      onRead(piece.length);
    });
  }

  close(): void {
    this.#onClose();
  }
}
