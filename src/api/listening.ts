/**
 * The addresses at which guests may attach, as text to paste: for a page that says what to do while there is no guest.
 */
import { type AttachAddress, attachAddressText } from "../attach/address.ts";
import { qemuArgs, shellLine } from "../control/qemu-args.ts";

/** An address, and the arguments to append to QEMU's; null for a WebSocket, which QEMU cannot use. */
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
