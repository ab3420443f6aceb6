/** What may be ended from without. */
export interface Abortable {
  readonly signal?: AbortSignal | undefined;
}
