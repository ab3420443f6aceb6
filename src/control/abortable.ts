/** Options of a call whose result can be ended by aborting a signal. Each call says what aborting ends. */
export interface Abortable {
  readonly signal?: AbortSignal | undefined;
}
