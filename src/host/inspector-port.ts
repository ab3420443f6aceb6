/**
 * The port of Node's debugger (`node --inspect`, SIGUSR1, `inspector.open`). Whoever reaches it runs code in this
 * process. It may be opened and closed at any time, so it is asked for at each dial. A thread other than the main one
 * cannot ask: there the port is taken to be open.
 */
import { createRequire } from "node:module";

type Inspector = typeof import("node:inspector");

/** Undefined until it has been loaded; null for a Node that was built without the inspector. */
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

/** Whether this process's debugger listens at the port. */
export function isInspectorPort(port: number): boolean {
  if (port !== process.debugPort) return false;
  inspector ??= load();
  return inspector !== null && (!isMain || inspector.url() !== undefined);
}
