/**
 * A TFTP client (RFC 1350, RFC 2348): reads one file, in the largest blocks that the link carries without fragments.
 */
import { put16 } from "../../wire/bytes.ts";
import {
  TFTP_ACK,
  TFTP_BLOCK,
  TFTP_DATA,
  TFTP_ERROR,
  TFTP_HEADER,
  TFTP_OACK,
  TFTP_PORT,
  TFTP_RRQ,
  tftpErrorText,
  tftpNumber,
  tftpOpcode,
} from "../../wire/tftp.ts";
import type { Guest } from "./guest.ts";

const RETRY_MS = 1_000;
const TRIES = 5;
const BLOCK = 1_468;

/** The file's bytes. Rejects with the server's error text, or after the last try. */
export function tftpGet(guest: Guest, server: number, name: string): Promise<Uint8Array> {
  const socket = guest.udp();
  const blocks: Uint8Array[] = [];
  let blockSize = TFTP_BLOCK;
  let last = request(name);
  let cancel = (): void => {};
  return new Promise<Uint8Array>((resolve, reject) => {
    const send = (packet: Uint8Array, tries = 0): void => {
      last = packet;
      cancel();
      socket.send(packet, server, TFTP_PORT);
      cancel = guest.timers.after(RETRY_MS, () => {
        if (tries === TRIES) reject(new Error(`no answer for ${name}`));
        else send(last, tries + 1);
      });
    };
    socket.onUnreachable = () => reject(new Error("the TFTP server refuses"));
    socket.onDatagram = (packet, ip, port) => {
      if (ip !== server || port !== TFTP_PORT) return;
      const opcode = tftpOpcode(packet, 0, packet.length);
      if (opcode === TFTP_ERROR) reject(new Error(tftpErrorText(packet, 0, packet.length)));
      else if (opcode === TFTP_OACK && blocks.length === 0) {
        // The block size is the only option that was asked for.
        blockSize = BLOCK;
        send(acknowledgement(0));
      } else if (opcode === TFTP_DATA && tftpNumber(packet, 0) === ((blocks.length + 1) & 0xffff)) {
        blocks.push(packet.slice(TFTP_HEADER));
        send(acknowledgement(blocks.length));
        if (packet.length - TFTP_HEADER < blockSize) resolve(Buffer.concat(blocks));
      }
    };
    send(last);
  }).finally(() => {
    cancel();
    socket.close();
  });
}

function request(name: string): Uint8Array {
  const texts = new TextEncoder().encode(`${name}\0octet\0blksize\0${BLOCK}\0`);
  const packet = new Uint8Array(2 + texts.length);
  put16(packet, 0, TFTP_RRQ);
  packet.set(texts, 2);
  return packet;
}

function acknowledgement(block: number): Uint8Array {
  const packet = new Uint8Array(4);
  put16(packet, 0, TFTP_ACK);
  put16(packet, 2, block);
  return packet;
}
