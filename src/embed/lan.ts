/** One network without its surroundings: the stack, and the switch in front of it where the guests' cables meet. */
import { LanGuard, NO_ADDRESSES } from "../attach/guard.ts";
import { NullReceiver, type SavedMac, Switch } from "../attach/switch.ts";
import type { StackConfig } from "../core/config.ts";
import type { FrameTap } from "../core/tap.ts";
import { GATEWAY_MAC6, gatewayMac } from "../stack/gateway-mac.ts";
import type { KnownGuests } from "../stack/known-guests.ts";
import type { StackParts } from "../stack/parts.ts";
import { Stack } from "../stack.ts";

export interface Lan {
  readonly stack: Stack;
  readonly switch: Switch;
  /** The receiver of frames that are not from one guest to another: the stack, or without a gateway nobody. */
  readonly frames: Stack | NullReceiver;
}

/** Everything that a network knows of its guests. It can be written as JSON. */
export interface SavedLan extends KnownGuests {
  readonly macs: readonly SavedMac[];
}

export function saveLan(lan: Lan): SavedLan {
  return { ...lan.stack.saveGuests(), macs: lan.switch.save() };
}

/** `lan` must have the same cables as the saved network, and no frame may have passed yet. */
export function restoreLan(lan: Lan, saved: SavedLan): void {
  lan.switch.restore(saved.macs);
  lan.stack.restoreGuests(saved);
}

/**
 * Makes a network. It is deterministic: given the same input, it does the same again. `tap` sees the cables' frames.
 */
export function composeLan(config: StackConfig, parts: StackParts, tap: FrameTap): Lan {
  const stack = new Stack(config, parts);
  const { gateway, dhcp, isolate, limits } = config;
  const frames = gateway ? stack : new NullReceiver();
  const lan = new Switch({
    inner: frames,
    clock: parts.clock,
    trace: parts.trace,
    limits,
    tap,
    gatewayMacs: gateway ? [gatewayMac(config), GATEWAY_MAC6] : [],
    guard: new LanGuard(gateway ? stack.ownership : NO_ADDRESSES, !dhcp),
    isolate,
    probe: (link, mac) => gateway && stack.probe(link, mac),
  });
  return { stack, switch: lan, frames };
}
