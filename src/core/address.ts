/**
 * An IP address at a seam: text in its shortest form ("10.0.2.2", "fec0::2"). Packets carry numbers (`wire/`); this
 * is made once per flow, lease or forward, never per packet.
 */
export type IpText = string;

export interface Endpoint {
  readonly host: IpText;
  readonly port: number;
}

export function endpointText(e: Endpoint): string {
  return e.host.includes(":") ? `[${e.host}]:${e.port}` : `${e.host}:${e.port}`;
}

/** Dotted decimal to a signed 32-bit number. The text has been validated at the edge. */
export function ipv4FromText(text: IpText): number {
  let value = 0;
  for (const part of text.split(".")) value = (value << 8) | Number(part);
  return value | 0;
}
