/**
 * The port of Node's debugger (`node --inspect`, SIGUSR1, `inspector.open`): whoever reaches it runs code in this process. It is
 * opened and closed beside us, so we ask each time. A thread other than the main one is not told of it, and there the port
 * counts as open.
 */
import { createRequire } from "node:module";

type Inspector = typeof import("node:inspector");

/** Undefined until it has been asked for; null for a Node that was built without. */
let inspector: Inspector | null | undefined;
let isMain = true;

function load(): Inspector | null {
  const require = createRequire(import.meta.url);
  ({ isMainThread: isMain } = require("node:worker_threads") as typeof import("node:worker_threads"));
  try {
    return require("node:inspector") as Inspector;
  } catch {
    return null;
  }
}

/** Whether this process' debugger listens at the port. */
export function isInspectorPort(port: number): boolean {
  if (port !== process.debugPort) return false;
  inspector ??= load();
  return inspector !== null && (!isMain || inspector.url() !== undefined);
}
