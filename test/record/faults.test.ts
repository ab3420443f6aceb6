/** A stack with a fault put in on purpose is caught at the first thing that it does otherwise, of whatever kind. */
import { afterEach, expect, it, vi } from "vitest";
import { Egress } from "../../src/nat/egress.ts";
import { DhcpServer } from "../../src/proto/dhcp.ts";
import { IsnGenerator } from "../../src/proto/tcp/isn.ts";
import { TftpServer } from "../../src/proto/tftp.ts";
import { RecordingReader } from "../../src/record/file.ts";
import type { Entry } from "../../src/record/format.ts";
import { replayRecording } from "../../src/record/run.ts";
import type { Difference } from "../../src/record/script.ts";
import { Arp } from "../../src/stack/arp.ts";
import { get16 } from "../../src/wire/bytes.ts";

const FILE = "fixtures/recordings/little-guest.tslirp";
const ARP = 0x0806;
const TCP = 6;

afterEach(() => void vi.restoreAllMocks());

const reader = new RecordingReader(FILE);
const entries = [...reader];
const head = ({ values }: Entry): Uint8Array => values[3] as Uint8Array;
/** Where the recording has the first of a kind. */
const first = (is: (entry: Entry) => boolean): number => entries.findIndex(is);

async function replayed(): Promise<Difference> {
  const { difference, crash } = await replayRecording(new RecordingReader(FILE), {});
  expect(crash).toBeNull();
  return difference!;
}

it("a wrong sequence number is caught at the first segment that has it", async () => {
  const sound = IsnGenerator.prototype.next;
  vi.spyOn(IsnGenerator.prototype, "next").mockImplementation(function (this: IsnGenerator, ...args) {
    return (sound.apply(this, args) + 1) | 0;
  });
  const difference = await replayed();
  expect(difference.at).toBe(first((entry) => entry.name === "sent" && head(entry)[23] === TCP));
  expect([difference.recorded?.name, difference.replayed?.name]).toEqual(["sent", "sent"]);
});

it("a frame that is not sent is caught where it was", async () => {
  vi.spyOn(Arp.prototype, "receive").mockImplementation(() => {});
  const difference = await replayed();
  expect(difference.at).toBe(first((entry) => entry.name === "sent" && get16(head(entry), 12) === ARP));
  expect(difference.recorded?.name).toBe("sent");
});

it("a call to the host that is not made is caught where it was", async () => {
  vi.spyOn(TftpServer.prototype, "receive").mockImplementation(() => {});
  const difference = await replayed();
  expect(difference.at).toBe(first(({ name }) => name === "openFile"));
  expect(difference.message).toContain("recorded openFile ");
});

it("a frame that is sent twice is caught at the second", async () => {
  const sound = Egress.prototype.udp;
  vi.spyOn(Egress.prototype, "udp").mockImplementation(function (this: Egress, ...args) {
    sound.apply(this, args);
    sound.apply(this, args);
  });
  const { at, recorded, replayed: done } = await replayed();
  expect(done?.name).toMatch(/^(?:sent|random)$/);
  expect(recorded?.name).not.toBe(done?.name);
  expect(entries[at - 1]!.name).toBe("sent");
});

it("a packet that is dropped is caught at the drop", async () => {
  const sound = DhcpServer.prototype.receive;
  let count = 0;
  vi.spyOn(DhcpServer.prototype, "receive").mockImplementation(function (this: DhcpServer, ...args) {
    // The second message's relay is none of ours.
    if (++count === 2) args[0].fill(1, args[1] + 24, args[1] + 28);
    return sound.apply(this, args);
  });
  const difference = await replayed();
  expect(difference.replayed).toEqual({ name: "drop", values: ["dhcp-relayed"] });
});
