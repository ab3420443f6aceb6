/**
 * The rules that both families' lease tables share: how many addresses of a pool a cable may hold, which holders are
 * gone, and who yields when none is left.
 *
 * A guest is whatever is on one cable, because it can use any MAC and any identifier. So all addresses of a cable count
 * together: offers, leases, addresses that it uses without a lease, and those that it has declined.
 *
 * A holder is *gone* when its cable is unplugged, or when it was asked (ARP, neighbour solicitation) and has not
 * answered. Its address is kept for it as long as others are free, but yields to a guest that is plugged in.
 *
 * When nothing is free the holder that has been gone for longest yields. If all are there, those on the asking cable are
 * asked whether they still are: a machine may have been replaced by another behind it. If that cable holds nothing, the
 * cable that holds most is asked likewise, and if all of its holders answer, the last of them yields: no guest, and no two
 * together, keep the others from an address.
 */

export type HoldingState = "offered" | "bound" | "released" | "declined" | "seen";

/** An address of a pool, in either family's table. Times are the clock's milliseconds. */
export interface Holding {
  /** The address is kept for one MAC for good: it never yields, and does not count. */
  readonly fixed: boolean;
  mac: string | null;
  state: HoldingState;
  /** Until then the address is nobody else's. */
  until: number;
  /** The cable on which the holder was last heard; null for an uplink, behind which there are many machines. */
  cable: object | null;
  /** Since when that cable is gone; Infinity while it is there. */
  vacated: number;
  /** Since when the holder has the address. */
  since: number;
  /** Since when the holder has owed an answer; Infinity when it owes none. */
  owes: number;
  /** When the holder was last asked. */
  asked: number;
}

/**
 * An address in use without a lease is kept for as long as a lease would last, or until the cable is gone.
 * Milliseconds.
 */
const CLAIM_MS = 86_400_000;
/** How many milliseconds an answer may take. */
const ANSWER_MS = 1_000;
/** For how many milliseconds a holder that has answered is not asked again. */
const ASK_AGAIN_MS = 30_000;

/** Asks the holder of an address to answer. False when that cannot be sent. */
export type Ask<R extends Holding> = (record: R) => boolean;

/** The fields of a new record. */
export function newHolding(fixed: boolean): Holding {
  return {
    ...{ fixed, mac: null, state: "released", until: Number.NEGATIVE_INFINITY, cable: null },
    ...{ vacated: Number.POSITIVE_INFINITY, since: Number.NEGATIVE_INFINITY },
    ...{ owes: Number.POSITIVE_INFINITY, asked: Number.NEGATIVE_INFINITY },
  };
}

/** Whether an address is offered or leased. */
export function isLeased({ state, until }: Holding, now: number): boolean {
  return until > now && (state === "bound" || state === "offered");
}

export function isGone({ vacated, owes }: Holding, now: number): boolean {
  return vacated <= now || now - owes > ANSWER_MS;
}

/** Whether an address is leased and its holder is there. */
export function isLive(record: Holding, now: number): boolean {
  return record.state === "bound" && record.until > now && !isGone(record, now);
}

/** The holder has been heard on `cable`. */
export function hearHolder(record: Holding, cable: object | null): void {
  record.cable = cable;
  record.vacated = Number.POSITIVE_INFINITY;
  record.owes = Number.POSITIVE_INFINITY;
}

/** Asks a holder, unless it owes an answer or has lately given one. */
export function askHolder<R extends Holding>(record: R, now: number, ask: Ask<R>): void {
  if (record.owes !== Number.POSITIVE_INFINITY || now - record.asked < ASK_AGAIN_MS || !ask(record)) return;
  record.asked = now;
  record.owes = now;
}

/**
 * Asks one of those on a cable, but not the client itself: a machine may have taken its place. One for each message, the
 * one that was asked least lately, so that answers are no larger than questions.
 */
export function askBehind<R extends Holding>(
  records: Iterable<R>,
  cable: object | null,
  mac: string,
  now: number,
  ask: Ask<R>,
): void {
  if (cable === null) return;
  let first: R | null = null;
  for (const record of records) {
    const other = record.cable === cable && record.mac !== mac && record.until > now && !record.fixed;
    if (!other || record.owes !== Number.POSITIVE_INFINITY) continue;
    if (first === null || record.asked < first.asked) first = record;
  }
  if (first !== null) askHolder(first, now, ask);
}

/** The cable is gone: addresses that it used without a lease, or was only offered, are free. */
export function vacateCable(records: Iterable<Holding>, cable: object, now: number): void {
  for (const record of records) if (record.cable === cable) vacate(record, now);
}

/** A holder's cable is gone. */
export function vacate(record: Holding, now: number): void {
  if (record.vacated === Number.POSITIVE_INFINITY) record.vacated = now;
  if (record.state === "seen" || record.state === "offered") record.until = Math.min(record.until, now);
}

/** Whether `cable` holds as many addresses as one may. */
export function holdsTooMany(records: Iterable<Holding>, cable: object | null, most: number, now: number): boolean {
  if (cable === null) return false;
  let count = 0;
  for (const record of records)
    if (record.cable === cable && !record.fixed && record.until > now && !isGone(record, now)) count++;
  return count >= most;
}

/** `cable` uses the address without a lease. Beyond `most` such addresses, the cable's oldest is free again. */
export function claim(
  record: Holding,
  records: Iterable<Holding>,
  cable: object | null,
  most: number,
  now: number,
): void {
  record.state = "seen";
  record.since = now;
  record.until = now + CLAIM_MS;
  hearHolder(record, cable);
  boundClaims(records, cable, most, now);
}

/**
 * Called when `cable` uses one more address without a lease, or has declined one. Beyond `most` the oldest is free
 * again.
 */
export function boundClaims(records: Iterable<Holding>, cable: object | null, most: number, now: number): void {
  if (cable === null) return;
  let count = 0;
  let oldest: Holding | null = null;
  for (const record of records) {
    const claimed = record.state === "seen" || record.state === "declined";
    if (!claimed || record.cable !== cable || record.until <= now) continue;
    count++;
    if (oldest === null || record.since < oldest.since) oldest = record;
  }
  if (count > most) oldest!.until = now;
}

/**
 * The record that yields to a client on `cable` when none is free; null for none, also while holders are being asked.
 */
export function yielding<R extends Holding>(
  records: Iterable<R>,
  cable: object | null,
  mac: string,
  now: number,
  ask: Ask<R>,
): R | null {
  let gone: R | null = null;
  const there = new Map<object, R[]>();
  for (const record of records) {
    if (record.fixed) continue;
    if (isGone(record, now)) {
      if (gone === null || goneSince(record) < goneSince(gone)) gone = record;
    } else if (record.cable !== null) {
      const others = there.get(record.cable);
      if (others === undefined) there.set(record.cable, [record]);
      else others.push(record);
    }
  }
  if (gone !== null || cable === null) return gone;
  const own = there.get(cable);
  if (own !== undefined) {
    askBehind(own, cable, mac, now, ask);
    return null;
  }
  let most: R[] = [];
  for (const held of there.values()) if (held.length > most.length) most = held;
  // No cable loses its last address.
  if (most.length < 2) return null;
  let last = most[0]!;
  let owed = false;
  for (const record of most) {
    askHolder(record, now, ask);
    if (record.owes !== Number.POSITIVE_INFINITY) owed = true;
    if (record.since >= last.since) last = record;
  }
  return owed ? null : last;
}

function goneSince({ vacated, owes }: Holding): number {
  return Math.min(vacated, owes);
}

/** A record as plain data that JSON keeps: its cable by name, and numbers without an end as words. */
export type SavedRecord = Readonly<Record<string, string | number | boolean | null>>;

export function saveRecord(record: Holding, nameOf: (cable: object) => string): SavedRecord {
  const saved: Record<string, string | number | boolean | null> = {};
  for (const [field, value] of Object.entries(record)) {
    if (field === "cable") saved.cable = value === null ? null : nameOf(value);
    else saved[field] = typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
  }
  return saved;
}

/** Makes a record what was saved. `cableOf` gives null for a cable that is gone. */
export function restoreRecord(
  record: Holding,
  { cable, ...saved }: SavedRecord,
  cableOf: (name: string) => object | null,
): void {
  const times = ["until", "vacated", "since", "owes", "asked"].map((field) => [field, Number(saved[field])]);
  Object.assign(record, saved, Object.fromEntries(times), { cable: typeof cable === "string" ? cableOf(cable) : null });
}
