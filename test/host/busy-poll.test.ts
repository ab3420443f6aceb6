import { describe, expect, it } from "vitest";
import { BusyPoll, type Loop } from "../../src/host/busy-poll.ts";

/** A loop whose turns are taken by hand, and whose time passes by hand. */
class HandLoop implements Loop {
  time = 1_000;
  run: (() => void) | null = null;

  now(): number {
    return this.time;
  }

  next(run: () => void): void {
    this.run = run;
  }

  get awake(): boolean {
    return this.run !== null;
  }

  /** `micros` pass, and the loop turns if it is awake. */
  turn(micros: number): void {
    this.time += micros / 1000;
    const { run } = this;
    this.run = null;
    run?.();
  }
}

function poll(micros = 100) {
  const loop = new HandLoop();
  const moved = { bytes: 0 };
  const busy = new BusyPoll(micros, () => moved.bytes, loop);
  return { loop, moved, busy };
}

describe("busy polling", () => {
  it("begins when two packets come close to each other, and ends when no third one does", () => {
    const { loop, busy } = poll();
    busy.stir();
    expect(loop.awake).toBe(false);
    loop.turn(60);
    busy.stir();
    expect(loop.awake).toBe(true);
    loop.turn(60);
    expect(loop.awake).toBe(true);
    loop.turn(60);
    expect(loop.awake).toBe(false);
  });

  it("goes on as long as packets come", () => {
    const { loop, busy } = poll();
    busy.stir();
    for (let i = 0; i < 100; i++) {
      loop.turn(60);
      busy.stir();
      expect(loop.awake).toBe(true);
    }
  });

  it("leaves a guest alone that says something now and then", () => {
    const { loop, busy } = poll();
    for (let i = 0; i < 100; i++) {
      busy.stir();
      expect(loop.awake).toBe(false);
      loop.turn(500);
    }
  });

  it("ends where much passes, and begins again when that is over", () => {
    const { loop, moved, busy } = poll();
    busy.stir();
    loop.turn(60);
    busy.stir();
    expect(loop.awake).toBe(true);
    for (let i = 0; i < 20; i++) {
      moved.bytes += 65_536;
      loop.turn(100);
      busy.stir();
    }
    loop.turn(10);
    expect(loop.awake).toBe(false);
    busy.stir();
    expect(loop.awake).toBe(false);
    for (let i = 0; i < 20; i++) {
      loop.turn(100);
      busy.stir();
    }
    expect(loop.awake).toBe(true);
  });

  it("rests while each wake-up brings many packets, and begins again for a request and its answer", () => {
    const { loop, busy } = poll();
    const train = (): void => {
      for (let i = 0; i < 16; i++) {
        busy.stir();
        loop.time += 0.002;
      }
    };
    for (let i = 0; i < 10; i++) {
      train();
      loop.turn(168);
    }
    loop.turn(200);
    expect(loop.awake).toBe(false);
    train();
    expect(loop.awake).toBe(false);
    for (let i = 0; i < 40; i++) {
      loop.turn(60);
      busy.stir();
    }
    expect(loop.awake).toBe(true);
  });

  it("goes on for requests that follow each other fast, though each is reported more than once", () => {
    const { loop, busy } = poll();
    for (let i = 0; i < 2_000; i++) {
      for (let k = 0; k < 3; k++) {
        busy.stir();
        loop.time += 0.001;
      }
      loop.turn(20);
      if (i > 0) expect(loop.awake).toBe(true);
    }
  });

  it("of 0 microseconds never happens", () => {
    const { loop, busy } = poll(0);
    for (let i = 0; i < 10; i++) {
      busy.stir();
      loop.turn(10);
      expect(loop.awake).toBe(false);
    }
  });
});
