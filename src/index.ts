/** The public API. */

export type { MemoryCable } from "./attach/memory.ts";
export type { FrameWatcher } from "./attach/tap.ts";
export type { FrameSocket } from "./attach/websocket.ts";
export type { Abortable } from "./control/abortable.ts";
export type { Capture, CaptureOptions, CaptureStats } from "./control/capture.ts";
export { ConfigError } from "./control/errors.ts";
export type { AskVerdict, OnAsk, Question } from "./control/on-ask.ts";
export type { Flow, FlowTaker, FlowVerdict, OnFlow } from "./control/on-flow.ts";
export type { ImpairmentOptions } from "./control/options/impairment-options.ts";
export type { RecordOptions } from "./control/options/record-options.ts";
export type { NetworkOptions } from "./control/options.ts";
export type { ProxyOptions } from "./control/proxy-rules.ts";
export type { UplinkOptions } from "./control/uplink-rules.ts";
export type { WsAccessOptions } from "./control/ws-access.ts";
export type { Endpoint } from "./core/address.ts";
export type { ForwardRule } from "./core/config.ts";
export type { Limits } from "./core/limits.ts";
export type { Link } from "./core/link.ts";
export type { DropReason } from "./core/trace.ts";
export type { ListenTarget, Uplink } from "./embed/cables.ts";
export type { DropSummary } from "./embed/drops.ts";
export type { GuestServer, GuestServerEvents } from "./embed/guest-server.ts";
export type { GuestSocket } from "./embed/guest-socket.ts";
export type { GuestUdp, GuestUdpEvents, GuestUdpSender } from "./embed/guest-udp.ts";
export type { BindGuestUdpOptions, ConnectOptions, ListenGuestOptions } from "./embed/guests.ts";
export type { NetworkEvents, Refusal } from "./embed/network-events.ts";
export {
  type GuestNetwork,
  GuestNetworks,
  type GuestNetworksEvents,
  type GuestNetworksOptions,
  type GuestTotals,
} from "./guest-networks.ts";
export type { OpenForward } from "./nat/forwards.ts";
export type { LimitState } from "./nat/rules/meters.ts";
export type { Lease, NetworkStats } from "./network/info.ts";
export type { EndFlows } from "./network/recordings.ts";
export { type ReplayReport, replay } from "./network/replay.ts";
export { createNetwork, Network } from "./network.ts";
export type { RecordingState } from "./record/recording.ts";
export type { ReplayOptions } from "./record/replay.ts";
export type { FlowInfo } from "./stack/flow-info.ts";
