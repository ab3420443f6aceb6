/** Waiting for the end of a process that is no child of ours, without looking now and then (Linux, `libc.ts`). */
import { libc } from "./libc.ts";
import { readableDescriptor } from "./readable.ts";

/** Calls `ended` once when process `pid` ends. What is given back stops waiting; null where it cannot be waited for. */
export function whenProcessEnds(pid: number, ended: () => void): (() => void) | null {
  const fd = libc()?.openProcess(pid) ?? -1;
  if (fd < 0) return null;
  const process = readableDescriptor(fd, () => {
    process.close();
    ended();
  });
  return () => process.close();
}
