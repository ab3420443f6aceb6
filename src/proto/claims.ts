/**
 * Addresses of a pool that guests use without a lease are set aside, lest another be given them. One cable may have so
 * many set aside; beyond, its oldest is up for lease again, or a guest that claims all would leave none.
 */

/** A record of a pool, as either family's table has it. */
export interface Claim {
  readonly state: string;
  until: number;
  /** By whose use it is set aside; null for none whose number is bounded. */
  readonly cable: object | null;
}

/** A record that is leased, as either family's table has it. */
export interface Leased {
  readonly state: string;
  readonly until: number;
  /** The cable by which its client asked for it; null where many machines are, and for an address that is kept for one of them. */
  asker: object | null;
}

/** Whether as many are offered and leased by `cable` as one guest may have: it calls itself by as many MACs as it likes. */
export function tooManyLeases(records: Iterable<Leased>, cable: object | null, most: number, now: number): boolean {
  if (cable === null) return false;
  let count = 0;
  for (const { asker, state, until } of records)
    if (asker === cable && until > now && (state === "bound" || state === "offered")) count++;
  return count >= most;
}

/** Called when `cable` has one more. It may have `most`. */
export function boundClaims(records: Iterable<Claim>, cable: object, most: number, now: number): void {
  let count = 0;
  let oldest: Claim | null = null;
  for (const record of records) {
    if (record.state !== "seen" || record.cable !== cable || record.until <= now) continue;
    count++;
    if (oldest === null || record.until < oldest.until) oldest = record;
  }
  if (count > most) oldest!.until = now;
}
