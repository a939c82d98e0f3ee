/** The steps of a guest's life, written down as it lives, and judged again later without any guest. */
import { z } from 'zod';
import { InputError } from '../../corpora/errors.js';
import { msrFromJson, msrToJson } from '../../corpora/identity.js';
import { outcomeSchema } from '../hosts/agent/protocol.js';
import type { Play, Step } from '../scenarios/scenario.js';

const stepsSchema = z.array(
  z.strictObject({
    name: z.string(),
    outcome: outcomeSchema,
    like: z.strictObject({ step: z.string(), sameBoot: z.boolean() }).optional(),
    after: z.string().optional(),
    wrote: z
      .array(z.strictObject({ index: z.string(), value: z.string(), vcpu: z.int().min(0).optional() }))
      .optional(),
  }),
);

/** The play, with every step that it yields kept in `steps`. */
export const recording = (play: Play, steps: Step[]): Play =>
  async function* (stage) {
    for await (const step of play(stage)) {
      steps.push(step);
      yield step;
    }
  };

export const stepsToJson = (steps: readonly Step[]): string =>
  `${JSON.stringify(
    steps.map(({ wrote, ...step }) => ({
      ...step,
      ...(wrote ? { wrote: wrote.map((msr) => ({ ...msr, ...msrToJson(msr) })) } : {}),
    })),
    null,
    1,
  )}\n`;

/** A play that gives the recorded steps. Throws `InputError` `bad-bundle` where they are of another form. */
export function playOf(text: string): Play {
  const parsed = stepsSchema.safeParse(JSON.parse(text));
  if (!parsed.success)
    throw new InputError(
      'bad-bundle',
      `steps.json: ${parsed.error.issues[0]!.path.join('.')}: ${parsed.error.issues[0]!.message}`,
    );
  const steps = parsed.data.map(
    ({ name, outcome, like, after, wrote }): Step => ({
      ...{ name, outcome },
      ...(like ? { like } : {}),
      ...(after === undefined ? {} : { after }),
      ...(wrote
        ? { wrote: wrote.map(({ vcpu, ...msr }) => ({ ...msrFromJson(msr), ...(vcpu === undefined ? {} : { vcpu }) })) }
        : {}),
    }),
  );
  return async function* () {
    yield* steps;
  };
}
