/** Writes numbers and codes for people. */

const UNITS = ["", "k", "M", "G", "T"];
export function human(value, unit) {
  let step = 0;
  while (value >= 999.5 && step < UNITS.length - 1) {
    value /= 1000;
    step++;
  }
  return `${value >= 99.5 || step === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[step]}${unit}`;
}

export const millis = (value) => (value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`);
export const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

/** A time in the past, as an axis shows it. */
export function ago(seconds) {
  if (seconds === 0) return "now";
  return seconds < 60 ? `${seconds} s ago` : `${seconds / 60} min ago`;
}

/** TCP's states (RFC 9293 section 3.3.2), for people who have not read of them. */
const STATES = {
  HELD: ["connecting", "tslirp is dialling the other end, or waits for a ruling"],
  "SYN-SENT": ["connecting", "the guest has been dialled and has not answered"],
  "SYN-RECEIVED": ["connecting", "connected to the other end; the guest has not confirmed"],
  ESTABLISHED: ["open", "both ends send and receive"],
  "FIN-WAIT-1": ["closing", "the other end has finished; the guest has not confirmed"],
  "FIN-WAIT-2": ["half closed", "the other end has finished; the guest still sends"],
  "CLOSE-WAIT": ["half closed", "the guest has finished; the other end still sends"],
  CLOSING: ["closing", "both ends have finished"],
  "LAST-ACK": ["closing", "both ends have finished; the guest has not confirmed"],
  "TIME-WAIT": ["closed", "over; kept for a second against stray packets"],
  CLOSED: ["closed", "over"],
};
/** The word for a state, and the word's meaning. */
export const stateWords = (state) => STATES[state] ?? [state.toLowerCase(), ""];

/** The words for states and their meanings. Several states share a word. */
export const STATE_WORDS = [
  ["connecting", "an end has not answered yet, or the flow waits for a ruling"],
  ["open", "both ends send and receive"],
  ["half closed", "one end has finished, and the other still sends"],
  ["closing", "the end is on its way, and the guest has not confirmed it"],
  ["closed", "over; kept for a second against stray packets"],
];

const TYPES = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  12: "PTR",
  15: "MX",
  16: "TXT",
  28: "AAAA",
  33: "SRV",
  64: "SVCB",
  65: "HTTPS",
  255: "ANY",
};
export const typeWord = (type) => TYPES[type] ?? `type ${type}`;
const RESULTS = {
  0: "answered, without an address",
  1: "not understood",
  2: "failed",
  3: "no such name",
  4: "not supported",
  5: "refused",
};
export const resultWord = (rcode) => RESULTS[rcode] ?? `code ${rcode}`;
