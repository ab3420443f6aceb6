/** The demo's guest on a machine without QEMU: the small TCP/IP stack of `cli/guest`, on a cable in this process. */
import { createHash } from "node:crypto";
import { HostClock } from "../../host/clock.ts";
import { HostRandom } from "../../host/random.ts";
import type { Network } from "../../network.ts";
import { ipv4ToString } from "../../wire/ipv4.ts";
import { dhcp } from "../guest/dhcp.ts";
import { resolveName } from "../guest/dns.ts";
import { Guest } from "../guest/guest.ts";
import { httpGet } from "../guest/http.ts";
import { tftpGet } from "../guest/tftp.ts";
import { runOnTimers } from "../guest/timers.ts";
import type { Proofs } from "./proofs.ts";
import { WEB_NAME, type World } from "./world.ts";

const MAC = new Uint8Array([0x52, 0x54, 0x00, 0xde, 0x30, 0x01]);
const ECHO_BYTES = 1_200;

export async function proveWithEmbeddedGuest(net: Network, world: World, proofs: Proofs): Promise<void> {
  const cable = net.cable();
  const guest = new Guest({ cable, mac: MAC, clock: new HostClock(), random: new HostRandom() });
  const stop = runOnTimers(guest);
  try {
    const leased = await proofs.prove("DHCP", async () => {
      const lease = await dhcp(guest);
      return `${lease.ip}/${lease.prefix}, gateway ${lease.gateway}, DNS ${lease.dns}, MTU ${guest.mtu}`;
    });
    if (!leased) return;
    await proofs.prove(
      "ping the gateway",
      async () => `answered in ${(await guest.ping(guest.gateway)).toFixed(2)} ms`,
    );
    await proofs.prove("TFTP", () => readFile(guest, world));
    await proofs.prove("DNS", async () => `${WEB_NAME} is ${ipv4ToString(await resolveName(guest, WEB_NAME))}`);
    await proofs.prove("DNS, a name that is not", () => mustFail(resolveName(guest, `no.${WEB_NAME}`), /NXDOMAIN/));
    await proofs.prove("HTTP by name, through the NAT", () => fetchFile(guest, world));
    await proofs.prove("a closed port", () => mustFail(dial(guest, world.refusedPort), /^refused/));
    await proofs.prove("UDP through the NAT", () => udpEcho(guest, world.echoPort));
  } finally {
    stop();
    cable.close();
  }
}

async function readFile(guest: Guest, world: World): Promise<string> {
  return intact(await tftpGet(guest, guest.gateway, "file"), world);
}

async function fetchFile(guest: Guest, world: World): Promise<string> {
  const { status, body } = await httpGet(guest, `${world.web}/file`);
  if (status !== 200) throw new Error(`status ${status}`);
  return intact(body, world);
}

function intact(bytes: Uint8Array, world: World): string {
  if (createHash("sha256").update(bytes).digest("hex") !== world.fileHash)
    throw new Error("other bytes than were sent");
  return `${bytes.length} bytes, SHA-256 agrees`;
}

/** Connects to the host by the gateway's address. */
function dial(guest: Guest, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = guest.connect(guest.gateway, port, {
      onConnect: () => {
        socket.abort();
        resolve();
      },
      onClose: (end) => reject(new Error(end === "refused" ? "refused by a reset, at once" : String(end))),
    });
  });
}

function udpEcho(guest: Guest, port: number): Promise<string> {
  const socket = guest.udp();
  const bytes = Uint8Array.from({ length: ECHO_BYTES }, (_, i) => i * 7);
  return new Promise<string>((resolve, reject) => {
    socket.onDatagram = (answer) => {
      if (Buffer.compare(answer, bytes) === 0) resolve(`${answer.length} bytes came back`);
      else reject(new Error("other bytes came back"));
    };
    guest.timers.after(5_000, () => reject(new Error("nothing came back")));
    socket.send(bytes, guest.gateway, port);
  }).finally(() => socket.close());
}

/** Returns the message of the error with which `attempt` must fail, and which must match. */
async function mustFail(attempt: Promise<unknown>, expected: RegExp): Promise<string> {
  const message = await attempt.then(
    () => {
      throw new Error("succeeded, and should not have");
    },
    (error: Error) => error.message,
  );
  if (!expected.test(message)) throw new Error(message);
  return message;
}
