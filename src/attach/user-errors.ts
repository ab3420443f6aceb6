/**
 * Errors that a user's own function has thrown inside a call of the network's: a cable's `onFrame`, a watcher's
 * `frame`, a stream's `write`.
 *
 * Such an error must not unwind the stack. It would leave a batch open or a segment half written, and every guest would
 * pay for it. So whoever calls the function hands the error over here and goes on. During a memory cable's `send` the
 * user's program is on the call stack: the outermost `send` throws the first error when its work is done. At other
 * times the error becomes an uncaught exception, as that of an event's listener does.
 */

let sending = false;
let first: { readonly error: unknown } | null = null;

/** A user's function has thrown. */
export function userFailed(error: unknown): void {
  if (sending) first ??= { error };
  else
    queueMicrotask(() => {
      throw error;
    });
}

/** True if this `send` is not within another one; then `leaveSend` must follow. */
export function enterSend(): boolean {
  if (sending) return false;
  sending = true;
  return true;
}

/** Throws the first error of a user's function since `enterSend`. */
export function leaveSend(): void {
  const failed = first;
  sending = false;
  first = null;
  if (failed !== null) throw failed.error;
}
