/**
 * A runtime folder for each file of tests: what other tests hold, of this run or another one on the machine, is not this
 * one's to know (`host/port-registry`).
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "run-"));
process.env.XDG_RUNTIME_DIR = folder;
process.once("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
