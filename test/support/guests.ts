/** Guests on cables of their own, in front of a packet script's stack. */
import { cable, type MemoryCable } from "../../src/attach/memory.ts";
import { decodeFrame, encodeFrame, type Frame, type FrameSpec } from "./frames.ts";
import { GATEWAY_MAC, type PacketScript } from "./packet-script.ts";

/** Guest `n` is 10.0.2.N with the MAC 52:54:00:00:00:N. */
export class ScriptGuest {
  readonly mac: string;
  readonly ip: string;
  readonly cable: MemoryCable;
  readonly #script: PacketScript;
  readonly #out: Frame[] = [];

  constructor(script: PacketScript, n: number) {
    this.#script = script;
    this.mac = `52:54:00:00:00:${n.toString(16).padStart(2, "0")}`;
    this.ip = `10.0.2.${n}`;
    this.cable = cable(script.stack, { name: `guest ${n}`, onFrame: (frame) => this.#out.push(decodeFrame(frame)) });
  }

  send(frame: FrameSpec): void {
    const eth = { src: this.mac, dst: frame.arp === undefined ? GATEWAY_MAC : "ff:ff:ff:ff:ff:ff", ...frame.eth };
    this.#script.host.run();
    this.cable.send(encodeFrame({ ...frame, eth, ip: { src: this.ip, ...frame.ip } }));
    this.#script.host.run();
  }

  /** What has come by its cable. */
  all(): Frame[] {
    this.#script.host.run();
    return this.#out.splice(0);
  }

  /** What has come for it, less what is said to all. */
  takeAll(): Frame[] {
    return this.all().filter((frame) => frame.eth.dst === this.mac);
  }
}
