/** What `tslirp run` loads while the namespaces are being set up: the network takes longer to read than all the rest. */
export { needTaps } from "../../host/tap-device.ts";
export { type Session, startSession } from "../session.ts";
