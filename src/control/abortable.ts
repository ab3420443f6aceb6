/** Options of a call whose result can be ended by aborting a signal. Each call says what aborting ends. */
export interface Abortable {
  /** Aborting it ends the call's result. If it is aborted before, the call fails with the signal's reason (none). */
  readonly signal?: AbortSignal | undefined;
}
