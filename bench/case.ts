/** What a suite hands to `run.ts`. */
export interface Case {
  readonly suite: string;
  readonly name: string;
  /** Operations that one `call` does. */
  readonly per: number;
  /** Payload bytes of one operation; 0 where a rate in bits says nothing. */
  readonly bytes: number;
  /** Done once, before anything is timed or counted. */
  prepare?(): Promise<void>;
  /** With a promise for what is done in later turns. */
  call(): void | Promise<void>;
  /** `call` gives a promise. */
  readonly deferred?: true;
  /** Throws unless `calls` calls have done all their work. */
  check(calls: number): void;
}

/** Throws when what was counted is not what the work had to give. */
export function same(what: string, got: number, want: number): void {
  if (got !== want) throw new Error(`${what}: ${got}, expected ${want}`);
}
