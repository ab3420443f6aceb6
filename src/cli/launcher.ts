/**
 * The npm that started us. `npm start`, `npm run` and `npx` put a shell between npm and us. npm passes its signals to
 * that shell, and most shells die of them without telling us. Node has no event for a parent's end, so if npm started
 * us we wait for it; where the system does not report it, we look now and then whether our parent is another one.
 */
import { whenProcessEnds } from "../host/process-end.ts";

const LOOK_MILLIS = 250;

/** Calls `gone` once, if npm started us and its shell ends. Returns a function that stops waiting. */
export function whenLauncherEnds(gone: () => void): () => void {
  if (process.env.npm_lifecycle_event === undefined) return () => {};
  const parent = process.ppid;
  const stop = whenProcessEnds(parent, gone);
  // The shell may have ended before we began to wait, and another process may have its process id.
  if (stop !== null && process.ppid === parent) return stop;
  stop?.();
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    gone();
  }, LOOK_MILLIS).unref();
  return () => clearInterval(timer);
}
