import fc from "fast-check";
import { expect, it } from "vitest";
import { joinOptions, lastValue, splitOptions, takeType } from "../../src/control/qemu-options.ts";

it("pairs survive being written and read", () => {
  const key = fc.stringMatching(/^[a-z][a-z.-]*$/);
  // QEMU's own ambiguity: a comma that begins a value is the separator's second half.
  const value = fc.string({ unit: "binary" }).filter((text) => !text.startsWith(","));
  fc.assert(
    fc.property(fc.array(fc.record({ key, value: fc.option(value) }), { minLength: 1 }), (pairs) => {
      expect(splitOptions(joinOptions(pairs))).toEqual(pairs);
    }),
  );
});

it.each([
  ["user,id=n0", "user", ["id"]],
  ["type=user,id=n0", "user", ["id"]],
  ["id=n0,type=user", "user", ["id"]],
  ["id=n0,user", null, ["id", "user"]],
  ["", null, []],
])("the type of %j is %j", (text, type, rest) => {
  const taken = takeType(splitOptions(text));
  expect(taken.type).toBe(type);
  expect(taken.rest.map(({ key }) => key)).toEqual(rest);
});

it("of a key that comes twice the last counts", () => {
  expect(lastValue(splitOptions("a=1,b=2,a=3"), "a")).toBe("3");
  expect(lastValue(splitOptions("a=1"), "b")).toBeNull();
});
