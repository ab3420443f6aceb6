/**
 * Property tests try the same examples in every run, so that a failure is the change's that shows it. Others are tried with
 * `PROPERTY_SEED=N npm test`; the fuzzer is what looks for the unheard of.
 */
import fc from "fast-check";

fc.configureGlobal({ seed: Number(process.env.PROPERTY_SEED ?? 20261125) });
