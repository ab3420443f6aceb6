/** The modes of a network. */
export const MODES = ["shared", "host-only", "isolated", "bridged"] as const;
export type Mode = (typeof MODES)[number];
