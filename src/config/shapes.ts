import {
  type Static,
  type TObject,
  type TObjectOptions,
  type TProperties,
  type TSchema,
  type TUnsafe,
  Type
} from 'typebox'

/**
 * The building blocks of the configuration's schema. The schema describes the text that a user writes; its `Static` type
 * describes the configuration after it was normalised: defaults filled, durations in milliseconds, sizes in bytes.
 */

/** A secret is a typed reference to where it is kept, never the secret itself. */
export type SecretRef = { env: string } | { file: string }

/** One use of a plugin: `- jwt: { issuer: corp }` is `{ name: 'jwt', options: { issuer: 'corp' } }`. */
export interface PluginUse {
  name: string
  options: unknown
}

/** An object without unknown keys. What has a default may be left out in the YAML, and is always there in the `Config`. */
export function object<Properties extends TProperties>(
  properties: Properties,
  options: TObjectOptions = {}
): TObject<Properties> {
  const required = Object.entries(properties)
    .filter(([, schema]) => !('default' in schema) && !('~optional' in schema))
    .map(([key]) => key)
  return Type.Object(properties, { additionalProperties: false, required, ...options })
}

/** A map from names that the user chooses to values of one shape. Names become metric labels and Kubernetes names. */
export function named<Value extends TSchema>(
  value: Value,
  description: string
): TUnsafe<Record<string, Static<Value>>> {
  return Type.Unsafe<Record<string, Static<Value>>>({
    type: 'object',
    propertyNames: { pattern: namePattern, maxLength: 63 },
    additionalProperties: value,
    default: {},
    description
  })
}

export const namePattern = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'

/** A map from free text to text, such as headers or labels. */
export function textMap(description: string, options: object = {}): TUnsafe<Record<string, string>> {
  return Type.Unsafe<Record<string, string>>({
    type: 'object',
    additionalProperties: { type: 'string' },
    description,
    ...options
  })
}

/** Milliseconds, written as a number with a unit: `250ms`, `15s`, `1m`, `1h`, `1d`. Longer than zero. */
export function duration(description: string, options: { default?: string } = {}): TUnsafe<number> {
  return Type.Unsafe<number>({
    type: 'string',
    format: 'duration',
    pattern: '[1-9]',
    description,
    ...options
  })
}

/** As `duration`, but `0s` has a meaning too. */
export function durationOrZero(description: string, options: { default?: string } = {}): TUnsafe<number> {
  return Type.Unsafe<number>({ type: 'string', format: 'duration', description, ...options })
}

/** Bytes, written as Kubernetes users do: `64Ki`, `1Mi`, `1Gi`. */
export function size(description: string, options: { default?: string } = {}): TUnsafe<number> {
  return Type.Unsafe<number>({ type: 'string', format: 'size', pattern: '[1-9]', description, ...options })
}

/** A fraction from 0 to 1, written as `10%`. */
export function percentage(description: string, options: { default?: string } = {}): TUnsafe<number> {
  return Type.Unsafe<number>({ type: 'string', format: 'percentage', description, ...options })
}

/** One of a few words. */
export function choice<const Choices extends readonly (string | number)[]>(
  choices: Choices,
  description: string,
  options: { default?: Choices[number]; 'x-remedy'?: string } = {}
): TUnsafe<Choices[number]> {
  return Type.Unsafe<Choices[number]>({ enum: [...choices], description, ...options })
}

export function secret(description: string): TUnsafe<SecretRef> {
  return Type.Unsafe<SecretRef>({
    type: 'object',
    properties: {
      env: { type: 'string', minLength: 1, description: 'Name of an environment variable of the gateway.' },
      file: {
        type: 'string',
        minLength: 1,
        description:
          'Path of a file, e.g. of a mounted Secret. One newline at its end is not part of the secret.'
      }
    },
    additionalProperties: false,
    minProperties: 1,
    maxProperties: 1,
    'x-secret': true,
    description
  })
}

export function port(description: string, options: { default?: number; minimum?: number } = {}) {
  return Type.Integer({ minimum: 1, maximum: 65535, description, ...options })
}

export function flag(description: string) {
  return Type.Boolean({ default: false, description })
}

export function count(
  description: string,
  options: { default?: number; minimum?: number; maximum?: number } = {}
) {
  return Type.Integer({ minimum: 1, description, ...options })
}

export function text(description: string, options: { default?: string } = {}) {
  return Type.String({ minLength: 1, description, ...options })
}

export function texts(description: string, options: object = {}) {
  return Type.Array(Type.String({ minLength: 1 }), { description, ...options })
}
