/** Where the control API listens, as users write it: `unix:PATH` or `tcp:127.0.0.1:PORT`. */
import { parseAttachAddress, type StreamAddress } from "../attach/address.ts";
import { ConfigError } from "../control/errors.ts";

const EXPECTED = "expected unix:PATH or tcp:127.0.0.1:PORT";

/** Throws `ConfigError` about `field`. Other hosts than the loopback are refused: the API commands the network. */
export function parseApiAddress(field: string, text: string): StreamAddress {
  let address: ReturnType<typeof parseAttachAddress>;
  try {
    address = parseAttachAddress(text);
  } catch (error) {
    throw new ConfigError(field, text, /^(?:unix|tcp):/.test(text) ? (error as Error).message : EXPECTED);
  }
  if (
    address.kind === "udp" ||
    address.kind === "ws" ||
    address.kind === "vhost-user" ||
    (address.kind === "tcp" && !isLoopback(address.host))
  ) {
    throw new ConfigError(field, text, EXPECTED);
  }
  return address;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.[0-9.]+$/.test(host);
}
