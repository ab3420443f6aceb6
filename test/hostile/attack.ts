/**
 * What every hostile test asks of the stack besides its own point: that it lives and answers ARP within a second, that
 * it holds no more than before, and that nothing it sends has bytes of packets that were in the buffers earlier.
 */
import { expect } from "vitest";
import { DROP_REASONS, type DropReason } from "../../src/core/trace.ts";
import { encodeFrame, type Frame, type FrameSpec } from "../support/frames.ts";
import { heldMegabytes } from "../support/held-memory.ts";
import { GATEWAY_MAC, GUEST_MAC, type PacketScript } from "../support/packet-script.ts";

/** Fills the read slab before an attack. Attacks' own bytes are others. */
export const STALE = 0xa5;
const SOIL = new Uint8Array(9_000).fill(STALE);
const ANSWER_MS = 1_000;

/** How many bytes of `payload` look like an earlier packet's. */
export function stale(payload: Uint8Array): number {
  return payload.reduce((n, byte) => n + (byte === STALE ? 1 : 0), 0);
}

/** The gateway answers ARP within a second of this process's own time, and says nothing else. */
export function expectAlive(script: PacketScript): void {
  script.takeAll();
  const since = process.cpuUsage();
  script.send({ arp: { targetIp: "10.0.2.2" } });
  script.expect({ arp: { op: "reply", senderMac: GATEWAY_MAC } });
  expect(process.cpuUsage(since).user / 1000).toBeLessThan(ANSWER_MS);
}

export interface Bounds {
  /** What the attack may leave in memory; not measured, which takes a while, unless it is said. */
  readonly megabytes?: number;
  /** Frames sent for each one that came. */
  readonly replies?: number;
}

/** Sends the frames over soiled buffers, checks all of the above, and returns what was sent meanwhile. */
export function attack(
  script: PacketScript,
  frames: Iterable<FrameSpec | Uint8Array>,
  { megabytes, replies = 2 }: Bounds = {},
): Frame[] {
  const before = megabytes === undefined ? 0 : heldMegabytes();
  const sent: Frame[] = [];
  script.sendRaw(SOIL);
  for (const frame of frames) {
    const bytes =
      frame instanceof Uint8Array ? frame : encodeFrame({ ...frame, eth: { src: GUEST_MAC, ...toGateway(frame) } });
    script.sendRaw(bytes);
    const answers = script.takeAll();
    expect(answers.length).toBeLessThanOrEqual(replies);
    for (const answer of answers) expect(stale(answer.payload)).toBeLessThanOrEqual(stale(bytes));
    sent.push(...answers);
  }
  expectAlive(script);
  if (megabytes !== undefined) expect(heldMegabytes() - before).toBeLessThan(megabytes);
  return sent;
}

function toGateway(frame: FrameSpec): FrameSpec["eth"] {
  const v6 = (frame.ip6 ?? frame.icmp6 ?? frame.ndp) !== undefined;
  return { dst: frame.arp ? "ff:ff:ff:ff:ff:ff" : v6 ? "52:56:00:00:00:02" : GATEWAY_MAC, ...frame.eth };
}

/** All drops so far. */
export function drops(script: PacketScript): Partial<Record<DropReason, number>> {
  return Object.fromEntries(
    DROP_REASONS.map((reason) => [reason, script.dropped(reason)] as const).filter(([, n]) => n > 0),
  );
}
