/**
 * Checks whether a recorder could have written an entry's values. Other values belong to another format, or have been
 * changed.
 */
import { LEAST_SEGMENT, MAX_FRAME } from "../core/link.ts";
import type { Entry, EntryName, Value } from "./format.ts";

/** The most bytes of a payload, more than one read of a socket or a file brings. */
const MOST = 64 * 1_048_576;

type Check = (values: readonly Value[]) => boolean;
type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: Value): value is Fields => typeof value === "object" && value !== null;
const isTexts = (value: Value): boolean => Array.isArray(value) && value.every((each) => typeof each === "string");
const isEnd = (value: Value): boolean =>
  isObject(value) &&
  (typeof value.path === "string" || (typeof value.host === "string" && typeof value.port === "number"));
/** Whether `bytes` has this length, or has been left out. */
const isPayload = (length: Value, bytes: Value): boolean =>
  (length as number) <= MOST && ((bytes as Uint8Array).length === 0 || (bytes as Uint8Array).length === length);
const isRule = (value: Value): boolean => isObject(value) && isEnd(value.host) && isObject(value.guest);
const isFailure: Check = ([, error]) => isObject(error) && typeof error.message === "string";
const hasEnd: Check = ([, end]) => isEnd(end);
const hasTexts: Check = ([lines]) => isTexts(lines);
const RULINGS: ReadonlySet<unknown> = new Set(["allow", "deny", "redirect", "empty", "take"]);

const CHECKS: Partial<Record<EntryName, Check>> = {
  attached: ([, , traits]) => isObject(traits),
  frame: ([, undone, blank, , bytes]) => {
    const length = (bytes as Uint8Array).length + (blank as number);
    const size = undone as number;
    return length > 0 && length <= MAX_FRAME && (size <= 1 || (size >= LEAST_SEGMENT && size <= MAX_FRAME));
  },
  offload: ([, , value]) => value === null || isObject(value),
  local: ([, , value]) => value === null || isEnd(value),
  listening: hasEnd,
  bound: hasEnd,
  client: ([, remote]) => isObject(remote),
  listenFailed: isFailure,
  bindFailed: isFailure,
  data: ([, length, bytes]) => isPayload(length, bytes),
  landed: ([, length, , landed]) => (length as number) + (landed as number) <= MOST,
  datagram: ([, from, length, bytes]) => isEnd(from) && (length as number) <= 65_535 && isPayload(length, bytes),
  udpError: ([, error, to]) => isObject(error) && isObject(to),
  pong: ([, , from]) => typeof from === "string",
  pingError: ([, , to, error]) => typeof to === "string" && isObject(error),
  opened: ([, size]) => typeof size === "number" || size === "missing" || size === "refused",
  fileData: ([, length, bytes]) => (length as number) < 0 || isPayload(length, bytes),
  verdict: ([, ruling]) =>
    isObject(ruling) && RULINGS.has(ruling.action) && (ruling.action !== "redirect" || isEnd(ruling.to)),
  rules: hasTexts,
  dnsHosts: hasTexts,
  dnsZones: hasTexts,
  addForward: ([rule]) => isRule(rule),
  removeForward: ([rule]) => isRule(rule),
  dial: ([, guest, remote]) => isEnd(guest) && isObject(remote),
  serveTcp: hasEnd,
  serveUdp: hasEnd,
  sendUdp: ([from, guest]) => isEnd(from) && isEnd(guest),
  guests: ([known]) => isObject(known) && Array.isArray(known.macs) && Array.isArray(known.leases),
};

export function isSound({ name, values }: Entry): boolean {
  return CHECKS[name]?.(values) ?? true;
}
