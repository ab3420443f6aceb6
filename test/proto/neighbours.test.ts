/** Who may make us remember how many addresses. */
import { expect, test } from "vitest";
import { addressFromText } from "../../src/core/address.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import type { Link } from "../../src/core/link.ts";
import { Neighbours } from "../../src/proto/neighbours.ts";

const MAC = new Uint8Array(6);
const [A, B, C] = [{} as Link, {} as Link, {} as Link];

function rig() {
  let forgotten = 0;
  const neighbours = new Neighbours(1, 2, { ...DEFAULT_LIMITS, neighbours: 6, neighboursPerGuest: 4 }, () => {
    forgotten++;
  });
  const learn = (ip: string, link: Link): void => void neighbours.learn(addressFromText(ip), MAC, 0, link);
  const knows = (ip: string): boolean => neighbours.find(addressFromText(ip)) !== null;
  return { neighbours, learn, knows, forgotten: () => forgotten };
}

test("a guest that makes more addresses than one may have forgets its own oldest, and others keep theirs", () => {
  const { learn, knows, forgotten } = rig();
  learn("10.0.2.16", B);
  for (let i = 0; i < 10; i++) learn(`fec0::${i + 1}`, A);
  expect(forgotten()).toBe(6);
  expect(knows("10.0.2.16")).toBe(true);
  expect(["fec0::6", "fec0::7", "fec0::10"].map(knows)).toEqual([false, true, true]);
  learn("10.0.2.17", B);
  expect(forgotten()).toBe(6);
});

test("beyond what all may have, the addresses that nobody is known to have any more go first", () => {
  const { neighbours, learn, knows, forgotten } = rig();
  for (let i = 0; i < 3; i++) learn(`fec0::a${i}`, A);
  learn("10.0.2.16", B);
  for (let i = 0; i < 2; i++) learn(`fec0::c${i}`, C);
  neighbours.detached(C);
  learn("10.0.2.17", B);
  learn("10.0.2.18", B);
  expect(forgotten()).toBe(2);
  expect(["fec0::c0", "fec0::c1", "fec0::a0", "10.0.2.16"].map(knows)).toEqual([false, false, true, true]);
  learn("10.0.2.19", B);
  expect(["10.0.2.16", "fec0::a0"].map(knows)).toEqual([false, true]);
});

test("what two cables fill together takes nothing from a third, whose address is in use or not, nor from one that comes later", () => {
  const { neighbours, learn, knows } = rig();
  const used = new Set(["10.0.2.15"]);
  neighbours.watcher = { ...neighbours.watcher, inUse: ({ address }) => used.has(address.text) };
  learn("10.0.2.15", C);
  for (let i = 0; i < 40; i++) {
    // Flows of theirs keep none of them.
    used.add(`fec0::a${i}`).add(`fec0::b${i}`);
    learn(`fec0::a${i}`, A);
    learn(`fec0::b${i}`, B);
  }
  expect(knows("10.0.2.15")).toBe(true);
  learn("10.0.2.16", {} as Link);
  expect(["10.0.2.15", "10.0.2.16"].map(knows)).toEqual([true, true]);
  for (let i = 40; i < 80; i++) {
    learn(`fec0::a${i}`, A);
    learn(`fec0::b${i}`, B);
  }
  expect(["10.0.2.15", "10.0.2.16"].map(knows)).toEqual([true, true]);
});

test("an address that has been handed over is nobody's until it is heard, and is then not handed over again", () => {
  const { neighbours, learn } = rig();
  const replaced: string[] = [];
  neighbours.watcher = { ...neighbours.watcher, replaced: ({ address }) => void replaced.push(address.text) };
  neighbours.learn(addressFromText("10.0.2.15"), Uint8Array.of(2, 0, 0, 0, 0, 1), 0, A);
  neighbours.handOver(neighbours.find(addressFromText("10.0.2.15"))!);
  expect(neighbours.macOf(addressFromText("10.0.2.15"))).toBeNull();
  neighbours.learn(addressFromText("10.0.2.15"), Uint8Array.of(2, 0, 0, 0, 0, 2), 0, B);
  expect(replaced).toEqual(["10.0.2.15"]);
  neighbours.learn(addressFromText("10.0.2.15"), Uint8Array.of(2, 0, 0, 0, 0, 3), 0, B);
  expect(replaced).toHaveLength(2);
  learn("10.0.2.16", A);
});
