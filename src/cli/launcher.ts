/**
 * The npm that started us. `npm start`, `npm run` and `npx` put a shell between npm and us, to which npm passes the
 * signals that it gets, and most shells die of them without a word to us. Node has no event for that, so where npm started
 * us we wait for our parent's end; where the system does not tell it, our parent is looked at now and then: another
 * one means that the shell is gone.
 */
import { whenProcessEnds } from "../host/process-end.ts";

const LOOK_MILLIS = 250;

/** Calls `gone` once, if npm started us and its shell ends. What is given back stops waiting. */
export function whenLauncherEnds(gone: () => void): () => void {
  if (process.env.npm_lifecycle_event === undefined) return () => {};
  const parent = process.ppid;
  const stop = whenProcessEnds(parent, gone);
  // It may have ended, and its number been another's, before it was waited for.
  if (stop !== null && process.ppid === parent) return stop;
  stop?.();
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    gone();
  }, LOOK_MILLIS).unref();
  return () => clearInterval(timer);
}
