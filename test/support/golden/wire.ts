/**
 * A scripted guest on a cable of length-prefixed frames: the same words to whoever is at the other end, tslirp or
 * libslirp behind QEMU's hub. It answers address resolution for itself, as any guest does; all else the script says.
 */
import net from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { decodeFrame, encodeFrame, type Frame, type FrameSpec, isIpv6 } from "../frames.ts";

export const MAC = "52:54:00:12:34:56";
export const IP = "10.0.2.15";
export const GATEWAY_MAC = "52:55:0a:00:02:02";
const GATEWAY_MAC6 = "52:56:00:00:00:02";
/** How long an answer may take; what has not come by then is "nothing". */
const PATIENCE_MILLIS = 1_000;

type Wanted = (frame: Frame) => boolean;

export class Wire {
  readonly #socket: net.Socket;
  #rest: Buffer = Buffer.alloc(0);
  #unread: Frame[] = [];
  #wake: () => void = () => {};
  #port = 40_000;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
  }

  /** QEMU's socket is there a moment before anybody listens: refusals are no failure for so many tries. */
  static async open(path: string, tries = 100): Promise<Wire> {
    for (;;) {
      const socket = net.connect(path);
      const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
        socket.once("connect", () => resolve(null)).once("error", resolve);
      });
      if (error === null) return new Wire(socket);
      if (error.code !== "ECONNREFUSED" || --tries === 0) throw error;
      await delay(20);
    }
  }

  /** A port of the guest's that no case has used yet; the same on every wire that is put through the same script. */
  freePort(): number {
    return this.#port++;
  }

  send(frame: FrameSpec): void {
    const dst = isIpv6(frame) ? GATEWAY_MAC6 : GATEWAY_MAC;
    const bytes = encodeFrame({
      ...frame,
      eth: { dst: frame.arp ? "ff:ff:ff:ff:ff:ff" : dst, src: MAC, ...frame.eth },
    });
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32BE(bytes.length);
    this.#socket.write(Buffer.concat([prefix, bytes]));
  }

  /** The first frame, come already or to come, that is wanted; null when there is none in time. Others stay unread. */
  async next(wanted: Wanted, patience: number = PATIENCE_MILLIS): Promise<Frame | null> {
    const until = performance.now() + patience;
    for (;;) {
      const index = this.#unread.findIndex(wanted);
      if (index >= 0) return this.#unread.splice(index, 1)[0]!;
      const left = until - performance.now();
      if (left <= 0) return null;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Sends, and gives the first wanted frame that comes after. */
  ask(frame: FrameSpec, wanted: Wanted, patience?: number): Promise<Frame | null> {
    this.#unread = [];
    this.send(frame);
    return this.next(wanted, patience);
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 4 && this.#rest.length >= 4 + this.#rest.readUInt32BE(0)) {
      const end = 4 + this.#rest.readUInt32BE(0);
      const frame = decodeFrame(unpadded(Uint8Array.from(this.#rest.subarray(4, end))));
      this.#rest = this.#rest.subarray(end);
      if (!this.#resolves(frame)) this.#unread.push(frame);
    }
    this.#wake();
  }

  /** Whether it was a question for our hardware address, which is answered. */
  #resolves({ arp, eth }: Frame): boolean {
    if (arp?.op !== "request" || arp.targetIp !== IP) return false;
    this.send({
      eth: { dst: eth.src },
      arp: { op: "reply", senderMac: MAC, senderIp: IP, targetMac: arp.senderMac, targetIp: arp.senderIp },
    });
    return true;
  }
}

/** Without what QEMU appends to make an Ethernet frame of at least 60 bytes. */
function unpadded(frame: Uint8Array): Uint8Array {
  const { view, type } = { view: new DataView(frame.buffer), type: (frame[12]! << 8) | frame[13]! };
  if (frame.length !== 60) return frame;
  if (type === 0x0806) return frame.subarray(0, 42);
  if (type === 0x0800) return frame.slice(0, 14 + view.getUint16(16));
  return type === 0x86dd ? frame.slice(0, 54 + view.getUint16(18)) : frame;
}
