/** The error of every call on a network that is closed, or closes meanwhile. */
export function closedError(): Error {
  return new Error("the network is closed");
}
