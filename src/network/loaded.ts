/** The code that `load` loads when the first network is made. */
export { attachAddressText } from "../attach/address.ts";
export { dgramDoor } from "../attach/dgram-door.ts";
export { streamDoor } from "../attach/server.ts";
export { wsDoor } from "../attach/ws-door.ts";
export { resolveUplink } from "../control/uplink-rules.ts";
export { accessOf, attachAddress, checkTarget, waitsFor } from "../embed/cables.ts";
export { composeNetwork } from "./compose.ts";
