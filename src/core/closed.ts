/** The error of every call on a network that is closed, or closes meanwhile. Its `code` is ENETDOWN. */
export function closedError(message = "the network is closed"): Error {
  return Object.assign(new Error(message), { code: "ENETDOWN" });
}
