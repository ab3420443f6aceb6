/**
 * Tells when nobody uses a network namespace any more. An open TAP keeps its namespace alive, so the device does not
 * tell. We look whether a process is in the namespace, first the one that was, or whether it is mounted somewhere (`ip
 * netns`).
 */
import fs from "node:fs";
import { linkOf } from "./process-names.ts";

const LOOK_MILLIS = 1_000;

/**
 * Calls `gone` once, when `pid` and all other processes have left `namespace` (`net:[…]`). Returns a function that
 * stops looking.
 */
export function whenNamespaceIsLeft(namespace: string, pid: number, gone: () => void): () => void {
  let known: number | null = pid;
  const timer = setInterval(() => {
    if (known !== null && isIn(known, namespace)) return;
    const before = known;
    known = processIn(namespace);
    // Only two looks in a row count, because a process that is just being started may be missed once.
    if (known !== null || before !== null || isMounted(namespace)) return;
    clearInterval(timer);
    gone();
  }, LOOK_MILLIS).unref();
  return () => clearInterval(timer);
}

const isIn = (pid: number | string, namespace: string): boolean => linkOf(`/proc/${pid}/ns/net`) === namespace;

function processIn(namespace: string): number | null {
  const found = fs.readdirSync("/proc").find((name) => /^\d+$/.test(name) && isIn(name, namespace));
  return found === undefined ? null : Number(found);
}

function isMounted(namespace: string): boolean {
  try {
    return fs.readFileSync("/proc/self/mountinfo", "utf8").includes(` ${namespace} `);
  } catch {
    return true;
  }
}
