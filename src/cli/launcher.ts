/**
 * The npm that started us. `npm start`, `npm run` and `npx` put a shell between npm and us, to which npm passes the
 * signals that it gets, and most shells die of them without a word to us. There is no event for that, so where npm
 * started us, our parent is looked at now and then: another one means that the shell is gone.
 */
const LOOK_MILLIS = 250;

/** Calls `gone` once, if npm started us and its shell ends. What is given back stops looking. */
export function whenLauncherEnds(gone: () => void): () => void {
  if (process.env.npm_lifecycle_event === undefined) return () => {};
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    gone();
  }, LOOK_MILLIS).unref();
  return () => clearInterval(timer);
}
