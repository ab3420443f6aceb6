import { createNetwork, type Network } from "tslirp";

const net = await createNetwork();
const cable = net.cable();
cable.onFrame = (frame) => console.log(`${frame.length} bytes for the guest`); // emulator.receive(frame)

// An emulator's card sends what its guest has put there: Ethernet frames, without FCS.
const who = "ffffffffffff525400123456080600010800060400015254001234560a00020f0000000000000a000202";
cable.send(Buffer.from(who, "hex")); // ARP: who has 10.0.2.2?

// Below is the test's.
export const network: Network = net;
