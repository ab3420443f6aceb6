/** The TFTP server by its RFCs' clauses. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { proves } from "../cases/proves.ts";
import { SeededRandom } from "../support/random.ts";
import { decode, fileBytes, PORT, request, TftpScript } from "./tftp-script.ts";

function script(files: Readonly<Record<string, Uint8Array | string>> = {}): TftpScript {
  const made = new TftpScript();
  for (const [name, content] of Object.entries(files)) made.files.put(name, content);
  return made;
}

describe("reading (RFC 1350)", () => {
  it("sends one block of 512 bytes per acknowledgement; the first that is shorter is the last (section 2)", () => {
    const file = fileBytes(1100);
    const s = script({ f: file });
    s.read("f");
    expect(s.expectData(1)).toEqual(file.subarray(0, 512));
    s.ack(1);
    expect(s.expectData(2)).toEqual(file.subarray(512, 1024));
    s.ack(2);
    expect(s.expectData(3)).toEqual(file.subarray(1024));
    expect(s.server.size).toBe(1);
    s.ack(3);
    s.expectNothing();
    expect(s.server.size).toBe(0);
    expect(s.files.openFiles).toBe(0);
    expect(s.ended).toEqual([{ client: "client", file: "f", bytes: 1100, error: null }]);
  });

  it.each([0, 512, 1024])("ends a file of %i bytes with an empty block (section 2)", (size) => {
    const s = script({ f: fileBytes(size) });
    expect(s.fetch("f")).toEqual(fileBytes(size));
    expect(s.ended).toMatchObject([{ bytes: size, error: null }]);
  });

  it("takes the mode in any case (section 5), and refuses mail and what is none", () => {
    const s = script({ f: "x" });
    s.read("f", {}, "OcTet");
    s.expectData(1);
    s.read("f", {}, "mail", 2001);
    s.expectError(4, 2001);
    s.read("f", {}, "", 2002);
    s.expectError(4, 2002);
  });

  it("refuses to write", () => {
    const s = script({ f: "x" });
    s.raw(request(2, ["f", "octet"]));
    s.expectError(2);
    expect(s.server.size).toBe(0);
  });

  it("says that a file is not there, or may not be read, and forgets the session", () => {
    const s = script();
    s.files.contents.set("secret", "refused");
    s.read("nothing");
    s.expectError(1);
    s.read("secret");
    s.expectError(2);
    expect(s.server.size).toBe(0);
  });

  it("answers another port with ERROR 5 and goes on with the transfer (section 4)", () => {
    const s = script({ f: fileBytes(600) });
    s.read("f");
    s.expectData(1);
    s.ack(1, 2001);
    s.expectError(5, 2001);
    s.ack(1);
    s.expectData(2);
  });

  it("never answers an error (section 7), and takes one as the session's end", () => {
    const s = script({ f: fileBytes(600) });
    s.error(3, "", 2001);
    s.expectNothing();
    s.read("f");
    s.expectData(1);
    s.error(3, "disk full");
    s.expectNothing();
    expect(s.server.size).toBe(0);
    expect(s.files.openFiles).toBe(0);
    expect(s.ended).toMatchObject([{ bytes: 0, error: "the client says error 3: disk full" }]);
  });

  it("wraps block numbers to 0, so that a file may be larger than 32 MB", () => {
    const file = fileBytes(65_540 * 512 + 7);
    const s = script({ f: file });
    expect(s.fetch("f").equals(file)).toBe(true);
  });

  it("ends well when the last block has number 0, in the middle of a window", () => {
    const file = fileBytes(65_536 * 8 - 1);
    const s = script({ f: file });
    expect(s.fetch("f", { blksize: 8, windowsize: 5 }).equals(file)).toBe(true);
    expect(s.ended).toMatchObject([{ error: null }]);
  });
});

describe("what does not arrive (RFC 1350 section 2)", () => {
  it("sends again after 1, 2, 4, 8, 8 s, says so at last, and is no more", () => {
    const s = script({ f: fileBytes(600) });
    s.read("f");
    s.expectData(1);
    for (const pause of [1, 2, 4, 8, 8]) {
      s.advance(pause * 1000 - 1);
      s.expectNothing();
      s.advance(1);
      s.expectData(1);
    }
    s.advance(8000);
    s.expectError(0);
    expect(s.server.size).toBe(0);
    expect(s.server.pollAt()).toBe(Number.POSITIVE_INFINITY);
    expect(s.files.openFiles).toBe(0);
  });

  it("begins with the first pause again once something was acknowledged", () => {
    const s = script({ f: fileBytes(1600) });
    s.read("f");
    s.advance(3000);
    s.expectData(1, 1, 1);
    s.ack(1);
    s.expectData(2);
    s.advance(1000);
    s.expectData(2);
  });

  it("is not made a sorcerer's apprentice: an acknowledgement that comes twice sends nothing (RFC 1123 section 4.2.3.1)", () => {
    const s = script({ f: fileBytes(1600) });
    s.read("f");
    s.expectData(1);
    s.ack(1);
    s.expectData(2);
    s.ack(1);
    s.ack(0);
    s.expectNothing();
    s.ack(2);
    s.expectData(3);
  });

  it("ignores acknowledgements of what was not sent", () => {
    const s = script({ f: fileBytes(1600) });
    s.read("f");
    s.expectData(1);
    for (const block of [2, 3, 0x8000, 0xffff]) s.ack(block);
    s.expectNothing();
    s.ack(1);
    s.expectData(2);
  });

  it("answers a request that comes again with the first block again, by one session", () => {
    const s = script({ f: fileBytes(600) });
    s.read("f");
    s.read("f");
    s.expectData(1, 1);
    expect(s.files.asked).toEqual(["f"]);
    s.ack(1);
    s.expectData(2);
    s.ack(2);
    expect(s.ended).toMatchObject([{ error: null }]);
  });

  it("opens a file once though the request comes again while that takes time", () => {
    const s = script({ f: fileBytes(600) });
    const packet = request(1, ["f", "octet"]);
    for (let i = 0; i < 3; i++) s.server.receive("client", PORT, packet, 0, packet.length, 1468, s.clock.now());
    s.files.run();
    s.expectData(1);
    expect(s.files.asked).toEqual(["f"]);
  });

  it("another request from the same port takes the place of the first", () => {
    const s = script({ f: fileBytes(600, 1), g: fileBytes(600, 2) });
    s.read("f");
    s.expectData(1);
    s.read("g");
    expect(s.expectData(1)).toEqual(fileBytes(600, 2).subarray(0, 512));
    expect(s.server.size).toBe(1);
    expect(s.files.openFiles).toBe(1);
  });

  it("the same file may be asked for anew in the middle of it", () => {
    const s = script({ f: fileBytes(1600) });
    s.read("f");
    s.expectData(1);
    s.ack(1);
    s.expectData(2);
    s.read("f");
    s.expectData(1);
  });

  it("a file that has shrunk meanwhile is an error, not a shorter file", () => {
    const s = script();
    s.files.contents.set("f", { bytes: fileBytes(600), size: 2000 });
    s.read("f");
    s.expectError(0);
    expect(s.files.openFiles).toBe(0);
  });
});

describe("options", () => {
  it("are acknowledged in their order; the data follows ACK 0 (RFC 2347)", () => {
    const s = script({ f: fileBytes(3000) });
    s.read("f", { tsize: 0, blksize: 1024, timeout: 3 });
    s.expectOack({ tsize: "3000", blksize: "1024", timeout: "3" });
    s.ack(0);
    expect(s.expectData(1)).toEqual(fileBytes(3000).subarray(0, 1024));
    s.ack(0);
    s.expectNothing();
  });

  it("are left out when unknown or senseless; without any there is no OACK (RFC 2347 section 3)", () => {
    const s = script({ f: fileBytes(600) });
    s.read("f", { multicast: "", utimeout: 5, blksize: 7, timeout: 0, windowsize: 0, tsize: "x" });
    s.expectData(1);
    s.read("f", { password: 1, blksize: "1e3", BLKSIZE: 600 }, "octet", 2001);
    expect(s.next(2001)).toMatchObject({ data: 1 });
    s.read("f", { BlkSize: 99, password: 1 }, "octet", 2002);
    expect(s.next(2002)).toEqual({ oack: { blksize: "99" } });
  });

  it("the OACK is sent again until it is acknowledged", () => {
    const s = script({ f: fileBytes(600) });
    s.read("f", { blksize: 512 });
    s.expectOack({ blksize: "512" });
    s.ack(1);
    s.expectNothing();
    s.advance(1000);
    s.expectOack({ blksize: "512" });
    s.read("f", { blksize: 512 });
    s.expectOack({ blksize: "512" });
    s.ack(0);
    s.expectData(1);
  });

  it(
    proves("clients.edk2-abort", "ERROR 8 behind the OACK, as EDK2 ends a question for the size, frees the session"),
    () => {
      const s = script({ f: fileBytes(600) });
      s.read("f", { tsize: 0, blksize: 1468, windowsize: 4 });
      s.expectOack({ tsize: "600", blksize: "1468", windowsize: "4" });
      s.error(8, "User aborted the transfer");
      s.expectNothing();
      expect(s.server.size).toBe(0);
      expect(s.files.openFiles).toBe(0);
      s.read("f", { blksize: 1468, windowsize: 4 }, "octet", 2001);
      expect(s.next(2001)).toEqual({ oack: { blksize: "1468", windowsize: "4" } });
    },
  );

  it.each([
    [8, 8],
    [1468, 1468],
    [1469, 1468],
    [65_464, 1468],
    [99_999, 1468],
  ])("blksize %i becomes %i: no more than one frame holds (RFC 2348)", (asked, granted) => {
    const file = fileBytes(5000);
    const s = script({ f: file });
    s.read("f", { blksize: asked });
    s.expectOack({ blksize: String(granted) });
    s.ack(0);
    expect(s.expectData(1)).toEqual(file.subarray(0, granted));
  });

  it("timeout is the pause before a retransmission (RFC 2349)", () => {
    const s = script({ f: fileBytes(600) });
    s.read("f", { timeout: 20 });
    s.expectOack({ timeout: "20" });
    s.ack(0);
    s.expectData(1);
    s.advance(19_999);
    s.expectNothing();
    s.advance(1);
    s.expectData(1);
    s.advance(20_000);
    s.expectData(1);
  });

  it("tsize is not told of a netascii file, whose length is not known (RFC 2349)", () => {
    const s = script({ f: "a\nb" });
    s.read("f", { tsize: 0 }, "netascii");
    expect(s.expectData(1).toString("latin1")).toBe("a\r\nb");
  });
});

describe("windows (RFC 7440)", () => {
  function windowed(blocks: number, windowsize: number): TftpScript {
    const s = script({ f: fileBytes(blocks * 512 - 1) });
    s.read("f", { windowsize });
    s.expectOack({ windowsize: String(Math.min(windowsize, 16)) });
    s.ack(0);
    return s;
  }

  it(proves("clients.windowsize", "that many blocks go out for an acknowledgement"), () => {
    const s = windowed(10, 4);
    s.expectData(1, 2, 3, 4);
    s.ack(4);
    s.expectData(5, 6, 7, 8);
    s.ack(8);
    s.expectData(9, 10);
    s.ack(10);
    expect(s.ended).toMatchObject([{ error: null }]);
  });

  it("are 16 blocks at the most", () => {
    windowed(100, 65_535).expectData(...Array.from({ length: 16 }, (_, i) => i + 1));
  });

  it("start again behind a gap (section 4)", () => {
    const s = windowed(10, 4);
    s.expectData(1, 2, 3, 4);
    s.ack(2);
    s.expectData(3, 4, 5, 6);
    s.ack(6);
    s.expectData(7, 8, 9, 10);
  });

  it("start again once when the first block is missed, not for each repetition", () => {
    const s = windowed(20, 4);
    s.expectData(1, 2, 3, 4);
    s.ack(4);
    s.expectData(5, 6, 7, 8);
    s.ack(4);
    s.expectData(5, 6, 7, 8);
    s.ack(4);
    s.ack(4);
    s.expectNothing();
    s.advance(200);
    s.ack(4);
    s.expectData(5, 6, 7, 8);
  });

  it("go out again whole after a time-out", () => {
    const s = windowed(10, 4);
    s.expectData(1, 2, 3, 4);
    s.ack(1);
    s.expectData(2, 3, 4, 5);
    s.advance(1000);
    s.expectData(2, 3, 4, 5);
  });
});

describe("netascii (RFC 1350 section 5)", () => {
  it("sends LF as CR LF and CR as CR NUL, pairs cut by a block's end included", () => {
    const s = script({ f: "12345\n\r\n6\r" });
    s.read("f", { blksize: 8 }, "netascii");
    s.expectOack({ blksize: "8" });
    s.ack(0);
    expect(s.expectData(1).toString("latin1")).toBe("12345\r\n\r");
    s.ack(1);
    const second = "\0\r\n6\r\0";
    expect(s.expectData(2).toString("latin1")).toBe(second);
    s.advance(1000);
    expect(s.expectData(2).toString("latin1")).toBe(second);
    s.ack(2);
    expect(s.ended).toMatchObject([{ error: null, bytes: 10 }]);
  });

  it("is undone by any client, whatever the file, the blocks and the window", () => {
    const text = fc.array(fc.constantFrom("a", "\n", "\r", "\0", "é"), { maxLength: 200 }).map((a) => a.join(""));
    fc.assert(
      fc.property(text, fc.integer({ min: 8, max: 20 }), fc.integer({ min: 1, max: 5 }), (f, blksize, windowsize) => {
        const wire = script({ f }).fetch("f", { blksize, windowsize }, "netascii").toString("latin1");
        expect(wire.replaceAll("\r\n", "\n").replaceAll("\r\0", "\r")).toBe(f);
        expect(wire.replaceAll("\r\n", "").replaceAll("\r\0", "")).not.toMatch(/[\r\n]/);
      }),
    );
  });

  it("of a large file crosses the stretches it is read in", () => {
    const text = "one line\nanother\r\n".repeat(20_000);
    const wire = script({ f: text }).fetch("f", { blksize: 1000 }, "netascii").toString("latin1");
    expect(wire).toBe(text.replaceAll(/\r|\n/g, (c) => (c === "\n" ? "\r\n" : "\r\0")));
  });
});

describe("names", () => {
  it.each([
    ["f", "f"],
    ["/f", "f"],
    ["//a///./b/f", "a/b/f"],
    ["boot\\x64\\f", "boot/x64/f"],
    ["\\Boot\\BCD", "Boot/BCD"],
    ["%2e%2e/f", "%2e%2e/f"],
    ["a/..b/c..", "a/..b/c.."],
    ["...", "..."],
    ["é ü", "é ü"],
  ])("%j is looked for as %j", (name, path) => {
    const s = script();
    s.read(name);
    expect(s.files.asked).toEqual([path]);
    s.expectError(1);
  });

  it.each([
    "../f",
    "a/../f",
    "/..",
    "..",
    "..\\f",
    "a\\..\\..\\f",
    "/../../etc/passwd",
    "a/",
    "",
    "/",
    ".",
    "a/.",
    "a\nb",
    "a\x1b[2J",
  ])(proves("bad.tftp.escape", "%j is not looked for at all"), (name) => {
    const s = script();
    s.read(name);
    s.expectError(2);
    expect(s.files.asked).toEqual([]);
  });
});

describe("hostile packets", () => {
  it(proves("bad.tftp.short", "too short ones, and texts without their end, are dropped"), () => {
    const s = script({ f: "x" });
    const bad = ["", "\0", "\0\x01", "\0\x01f", "\0\x01\0", "\0\x01f\0", "\0\x01f\0octet", "\0\x01f\0octet\0blksize"];
    for (const packet of bad) s.raw(Buffer.from(packet, "latin1"));
    s.raw(request(1, ["f".repeat(600), "octet"]));
    s.expectNothing();
    expect(s.files.asked).toEqual([]);
    expect(s.dropped("tftp-malformed")).toBe(bad.length + 1);
  });

  it("an option without its value, and zeros behind the request, are let pass", () => {
    const s = script({ f: "x" });
    s.raw(request(1, ["f", "octet", "blksize"]));
    s.expectData(1);
    s.raw(request(1, ["f", "octet", "blksize", "99", "", "", "", ""]), 2001);
    expect(s.next(2001)).toEqual({ oack: { blksize: "99" } });
  });

  it("DATA, OACK and unknown operations start nothing", () => {
    const s = script({ f: "x" });
    s.raw(Buffer.from([0, 3, 0, 1, 65]));
    s.expectError(5);
    s.raw(Buffer.from([0, 6, 0, 1, 65]));
    s.expectError(5);
    s.raw(Buffer.from([9, 9, 9, 9]));
    s.expectError(4);
    s.raw(Buffer.from([0, 0, 0, 0]));
    s.expectNothing();
  });

  it("any bytes leave the server able to serve", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 30 }), fc.boolean(), (packets, rrq) => {
        const s = script({ f: fileBytes(600) });
        for (const packet of packets) s.raw(rrq ? Buffer.concat([Buffer.from([0, 1]), packet]) : packet);
        s.out.length = 0;
        s.advance(100_000);
        expect(s.server.size).toBe(0);
        s.out.length = 0;
        expect(s.fetch("f")).toEqual(fileBytes(600));
      }),
    );
  });

  it(
    proves(
      "bad.any.floods",
      "500 reads from one guest leave it 16 sessions, another guest its own, and the last ones served",
    ),
    () => {
      const s = script({ f: fileBytes(1600) });
      s.raw(request(1, ["f", "octet"]), 7000, "other");
      for (let port = 3000; port < 3500; port++) s.read("f", {}, "octet", port);
      expect(s.server.size).toBe(17);
      expect(s.files.openFiles).toBe(17);
      s.out.length = 0;
      s.raw(Buffer.from([0, 4, 0, 1]), 7000, "other");
      expect(s.next(7000, "other")).toMatchObject({ data: 2 });
      s.ack(1, 3499);
      expect(s.next(3499)).toMatchObject({ data: 2 });
      s.ack(1, 3000);
      s.expectError(5, 3000);
      s.advance(60_000);
      expect(s.server.size).toBe(0);
    },
  );

  it("many guests share the sessions there are; who has been stuck longest makes room", () => {
    const s = new TftpScript(4);
    s.files.put("f", fileBytes(1600));
    for (const client of ["a", "b", "c", "d"]) s.raw(request(1, ["f", "octet"]), PORT, client);
    s.raw(Buffer.from([0, 4, 0, 1]), PORT, "a");
    s.raw(request(1, ["f", "octet"]), PORT, "e");
    expect(s.ended).toMatchObject([{ client: "b" }]);
    expect(s.dropped("tftp-busy")).toBe(1);
  });

  it("opens no more than 64 files at a time, however many are asked for before the first is there", () => {
    const s = script({ f: fileBytes(600) });
    const packet = request(1, ["f", "octet"]);
    for (let port = 3000; port < 3500; port++)
      s.server.receive("client", port, packet, 0, packet.length, 1468, s.clock.now());
    expect(s.files.asked).toHaveLength(64);
    s.files.run();
    expect(s.files.openFiles).toBe(s.server.size);
    s.out.length = 0;
    s.read("f");
    s.expectData(1);
  });

  it("closing ends all sessions and closes their files", () => {
    const s = script({ f: fileBytes(600) });
    s.read("f");
    s.expectData(1);
    s.server.close();
    expect(s.files.openFiles).toBe(0);
    expect(s.server.pollAt()).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("on a wire that loses, repeats and delays", () => {
  /** A client by the RFCs: acknowledges at a window's end, at a gap and after a second of silence. */
  function lossyFetch(seed: number, size: number, windowsize: number, loss: number): { right: boolean; sent: number } {
    const random = new SeededRandom(seed);
    const chance = (share: number): boolean => random.u32() / 2 ** 32 < share;
    const file = fileBytes(size, seed);
    const s = script({ f: file });
    const pieces: Uint8Array[] = [];
    let expected = 1;
    let inWindow = 0;
    let sent = 0;
    let silence = 0;
    let gap = false;
    let started = false;
    let done = false;
    const up = (send: () => void): void => {
      if (!chance(loss)) send();
      if (chance(loss / 4)) send();
    };
    const ack = (): void => {
      inWindow = 0;
      up(() => s.ack((expected - 1) & 0xffff));
    };
    const ask = (): void => up(() => s.read("f", { blksize: 100, windowsize }));
    ask();
    for (let turn = 0; turn < 100_000 && !done; turn++) {
      const next = s.out.shift();
      if (next === undefined) {
        s.advance(10);
        silence += 10;
        if (silence % 1000 === 0) started ? ack() : ask();
        continue;
      }
      sent++;
      if (chance(loss)) continue;
      if (chance(loss / 4)) s.out.push(next);
      const reply = decode(next.packet);
      silence = 0;
      if ("error" in reply) return { right: false, sent };
      if ("oack" in reply) {
        if (!started || expected === 1) up(() => s.ack(0));
        started = true;
        continue;
      }
      if (reply.data !== (expected & 0xffff)) {
        if (!gap) ack();
        gap = true;
        continue;
      }
      gap = false;
      pieces.push(reply.bytes);
      expected++;
      inWindow++;
      done = reply.bytes.length < 100;
      if (done || inWindow === windowsize) ack();
    }
    return { right: done && Buffer.concat(pieces).equals(file), sent };
  }

  it.each([1, 2, 4, 16])("the file arrives whole, with a window of %i", (windowsize) => {
    for (let seed = 1; seed <= 25; seed++) {
      const { right, sent } = lossyFetch(seed, 9_950, windowsize, 0.1);
      expect(right, `seed ${seed}`).toBe(true);
      expect(sent, `seed ${seed}`).toBeLessThan(100 * 6);
    }
  });
});
