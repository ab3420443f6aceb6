/** The MACs from which the network answers. */
import { ipv4FromText } from "../core/address.ts";
import type { StackConfig } from "../core/config.ts";
import { put32 } from "../wire/bytes.ts";

/** The gateway's MAC on IPv6's frames, the same as libslirp's: 52:56 and the end of fe80::2. */
export const GATEWAY_MAC6: Uint8Array = new Uint8Array([0x52, 0x56, 0, 0, 0, 2]);

/** The gateway's MAC for a configuration, as libslirp makes it: 52:55 and its address. */
export function gatewayMac(config: StackConfig): Uint8Array {
  const mac = new Uint8Array([0x52, 0x55, 0, 0, 0, 0]);
  put32(mac, 2, ipv4FromText(config.host));
  return mac;
}
