/** Calls whose result a signal can end. */
import { setMaxListeners } from "node:events";

/** Options of a call whose result can be ended by aborting a signal. Each call says what aborting ends. */
export interface Abortable {
  /** Aborting it ends the call's result. If it is aborted before, the call fails with the signal's reason (none). */
  readonly signal?: AbortSignal | undefined;
}

/** Calls `act` when `signal` is aborted. Returns a function that cancels this. */
export function onAbort(signal: AbortSignal, act: () => void): () => void {
  // One signal may end any number of networks, cables and sockets: Node would take more than ten for a leak, and warn.
  setMaxListeners(0, signal);
  signal.addEventListener("abort", act, { once: true });
  return () => signal.removeEventListener("abort", act);
}

/** Calls `act` when `signal` is aborted, unless `over` is aborted first. */
export function whenAborted(signal: AbortSignal, act: () => void, over: AbortSignal): void {
  if (over.aborted) return;
  const forget = onAbort(signal, () => {
    forgetOver();
    act();
  });
  const forgetOver = onAbort(over, forget);
}
