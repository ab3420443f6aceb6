/**
 * A runtime folder for each file of tests: sockets, tokens and files of other tests, of this run or another one on the machine, are
 * not this one's. (Ports that any process of this user holds it knows all the same, `host/port-registry`.)
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "run-"));
process.env.XDG_RUNTIME_DIR = folder;
process.once("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
