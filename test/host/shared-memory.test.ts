/** Another process's memory, mapped here: what a closed mapping still shows. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { sharedLibc } from "../../src/host/shared-libc.ts";
import { SharedMapping } from "../../src/host/shared-memory.ts";

const libc = sharedLibc();

test.runIf(libc !== null)(
  "a closed mapping reads as zeros, with a view and without, and leaves no byte of before",
  () => {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "shared-")), "memory");
    fs.writeFileSync(file, Buffer.alloc(8192, 1));
    const fd = fs.openSync(file, "r+");
    const mapping = new SharedMapping(libc!, fd, 0, 8192);
    const view = new Uint8Array(mapping.view(0, 4096));
    const to = new Uint8Array(8).fill(9);
    mapping.read(4096, 4, to, 2);
    expect([...to]).toEqual([9, 9, 1, 1, 1, 1, 9, 9]);
    mapping.close();
    to.fill(9);
    mapping.read(4096, 4, to, 2);
    expect([...to]).toEqual([9, 9, 0, 0, 0, 0, 9, 9]);
    expect(view.every((byte) => byte === 0)).toBe(true);
    mapping.write(4096, 2, Uint8Array.of(7, 7), 0);
    expect([...fs.readFileSync(file).subarray(4096, 4098)]).toEqual([1, 1]);
    fs.closeSync(fd);
    fs.rmSync(path.dirname(file), { recursive: true });
  },
);
