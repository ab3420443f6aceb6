/** Where guests may come, in words to paste: for a page that says what to do while there is none. */
import { type AttachAddress, attachAddressText } from "../attach/address.ts";
import { qemuArgs, shellLine } from "../control/qemu-args.ts";

/** An address, and what to append to QEMU's arguments; null for a WebSocket, by which no QEMU comes. */
export interface ListeningShown {
  readonly address: string;
  readonly qemu: string | null;
}

export function listeningShown(addresses: readonly AttachAddress[]): ListeningShown[] {
  return addresses.map((address) => ({
    address: attachAddressText(address),
    qemu: address.kind === "ws" ? null : shellLine(qemuArgs("n0", address)),
  }));
}
