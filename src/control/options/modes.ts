/** What a network can be to its guests. */
export const MODES = ["shared", "host-only", "isolated", "bridged"] as const;
export type Mode = (typeof MODES)[number];
