import type { Check } from './context.ts'

/** `none` is what metrics call "no route" and "no upstream". The rest of the rule for names is in the schema. */
export const checkNames: Check = ({ config, report }) => {
  for (const section of ['issuers', 'upstreams', 'routes'] as const) {
    if (!Object.hasOwn(config[section], 'none')) continue
    report([section, 'none'], '"none" is a reserved name', 'give it another name')
  }
}
