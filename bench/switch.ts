/** From one guest's cable to another's: the switch and its guard, without a TCP of ours. */
import { LanGuard } from "../src/attach/guard.ts";
import { Switch } from "../src/attach/switch.ts";
import { resolveOptions } from "../src/control/options.ts";
import type { Link, LinkReceiver, Slab } from "../src/core/link.ts";
import { NO_TAP } from "../src/core/tap.ts";
import { NO_TRACE } from "../src/core/trace.ts";
import { GATEWAY_MAC6, gatewayMac } from "../src/stack/gateway-mac.ts";
import { Stack } from "../src/stack.ts";
import { ManualClock } from "../test/support/clock.ts";
import { encodeFrame, type FrameSpec } from "../test/support/frames.ts";
import { SeededRandom } from "../test/support/random.ts";
import { type Case, same } from "./case.ts";
import { DiscardingLink, FRAME, MSS } from "./guest.ts";
import { BATCH } from "./walks.ts";

const MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02"] as const;
const ADDRESSES = ["10.0.2.15", "10.0.2.16"] as const;

/** TCP segments and acknowledgements' sizes, between two guests whose addresses are known. */
export function switchCases(): Case[] {
  return [MSS, 0].map((size) => {
    const clock = new ManualClock();
    const { stack: config } = resolveOptions({ mtu: 1500 });
    const host = { cork() {}, uncork() {} } as never;
    const dns = { query() {}, close() {} };
    const stack = new Stack(config, { host, dns, clock, trace: NO_TRACE, random: new SeededRandom(1) });
    const lan: LinkReceiver = new Switch({
      ...{ inner: stack, clock, trace: NO_TRACE, tap: NO_TAP },
      gatewayMacs: [gatewayMac(config), GATEWAY_MAC6],
      guard: new LanGuard(stack.ownership),
    });
    const links = [new DiscardingLink(), new DiscardingLink()] as const;
    for (const link of links) lan.attached(link);
    const deliver = (from: Link, spec: FrameSpec): void => {
      const bytes = encodeFrame(spec);
      lan.receive(from, slab(bytes), 0, bytes.length);
      lan.batchEnd(from);
    };
    for (const [i, link] of links.entries()) {
      const [senderMac, senderIp] = [MACS[i]!, ADDRESSES[i]!];
      const arp = { op: "request" as const, senderMac, senderIp, targetIp: ADDRESSES[1 - i]! };
      deliver(link, { eth: { src: senderMac, dst: "ff:ff:ff:ff:ff:ff" }, arp });
    }
    const frame = encodeFrame({
      eth: { src: MACS[0], dst: MACS[1] },
      ip: { src: ADDRESSES[0], dst: ADDRESSES[1] },
      tcp: { srcPort: 1_000, dstPort: 80, flags: "ACK" },
      payload: new Uint8Array(size),
    });
    const batch = slab(new Uint8Array(BATCH * FRAME));
    for (let k = 0; k < BATCH; k++) batch.bytes.set(frame, k * FRAME);
    let arrived = 0;
    links[1].onCommit = () => {
      arrived++;
    };
    return {
      suite: "switch",
      name: `guest to guest, ${size === 0 ? "segments without payload" : `segments of ${size}`}, 64 a read`,
      per: BATCH,
      bytes: size,
      call() {
        for (let k = 0; k < BATCH; k++) lan.receive(links[0], batch, k * FRAME, frame.length);
        lan.batchEnd(links[0]);
      },
      check(calls) {
        same("frames", arrived, calls * BATCH);
      },
    };
  });
}

function slab(bytes: Uint8Array): Slab {
  return { bytes, scarce: false, pin() {}, unpin() {} };
}
