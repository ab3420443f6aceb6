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
