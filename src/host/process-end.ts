/** Waits for the end of a process that is not our child, without polling (Linux, `libc.ts`). */
import { libc } from "./libc.ts";
import { readableDescriptor } from "./readable.ts";

/**
 * Calls `ended` once when process `pid` ends. Returns a function that stops waiting; null where waiting is not
 * possible.
 */
export function whenProcessEnds(pid: number, ended: () => void): (() => void) | null {
  const fd = libc()?.openProcess(pid) ?? -1;
  if (fd < 0) return null;
  const process = readableDescriptor(fd, () => {
    process.close();
    ended();
  });
  return () => process.close();
}
