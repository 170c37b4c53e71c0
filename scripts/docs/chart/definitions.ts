/** Shapes that several values of the chart have; `@schema {$ref: "#/$defs/…"}` in values.yaml names them. */

/** A DNS label of at most 63 characters: names of namespaces, upstreams, routes. */
export const label = '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'
const object = (properties: Record<string, object>, required: readonly string[], more: object = {}) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
  ...more
})
/**
 * A map whose keys have a form. Not with `propertyNames`: of a key that does not fit, the library below Helm (santhosh-tekuri/jsonschema
 * 6.0.2) says a wrong place, and another one with every run.
 */
export const keyed = (pattern: string, value: object) => ({
  type: 'object',
  patternProperties: { [pattern]: value },
  additionalProperties: false
})
const ref = (name: string) => ({ $ref: `#/$defs/${name}` })

const ends = {
  namespace: ref('namespaceName'),
  podLabels: ref('strings'),
  cidr: ref('cidr'),
  except: { type: 'array', items: ref('cidr') }
}
/** Pods or addresses, never both: the Kubernetes API refuses such a peer. */
const podsOrAddresses = {
  dependentSchemas: { cidr: { properties: { namespace: false, podLabels: false } } },
  dependentRequired: { except: ['cidr'] }
}
/** A rule about pods whose namespace is open would be a rule about every namespace. */
const isNamed = { anyOf: [{ required: ['namespace'] }, { required: ['cidr'] }] }
const connection = { port: ref('port'), protocol: { enum: ['TCP', 'UDP', 'SCTP'] } }

export const definitions: Record<string, object> = {
  strings: { type: 'object', additionalProperties: { type: 'string' } },
  name: object({ name: { type: 'string', minLength: 1 } }, ['name']),
  namespaceName: { type: 'string', pattern: label },
  edgeName: { type: 'string', pattern: label },
  port: { type: 'integer', minimum: 1, maximum: 65535 },
  cidr: { type: 'string', pattern: '^[0-9a-fA-F.:]+/[0-9]{1,3}$' },
  prometheusDuration: { type: 'string', pattern: '^[0-9]+(ms|s|m|h)$' },
  directions: {
    type: 'array',
    items: { enum: ['Ingress', 'Egress'] },
    contains: { const: 'Ingress' },
    uniqueItems: true
  },
  peer: object(ends, [], { ...podsOrAddresses, ...isNamed }),
  egress: object({ name: { type: 'string', minLength: 1 }, ...ends, ...connection }, ['name', 'port'], {
    ...podsOrAddresses,
    ...isNamed
  }),
  edgeEnd: object(ends, [], podsOrAddresses),
  edge: object(
    { name: ref('edgeName'), from: ref('edgeEnd'), to: ref('edgeEnd'), ...connection },
    ['from', 'to', 'port'],
    // Between two blocks of addresses there is no pod that a policy could stand on.
    {
      not: {
        properties: { from: { required: ['cidr'] }, to: { required: ['cidr'] } },
        required: ['from', 'to']
      }
    }
  ),
  protectedNamespaces: keyed(
    label,
    object({ defaultDeny: ref('directions'), allow: { type: 'array', items: ref('edge') } }, [])
  ),
  secretVariables: keyed(
    '^[A-Za-z_][A-Za-z0-9_]*$',
    object(
      {
        existingSecret: { type: 'string', minLength: 1 },
        key: { type: 'string', minLength: 1 },
        value: { type: 'string' }
      },
      [],
      {
        anyOf: [{ required: ['existingSecret'] }, { required: ['value'] }],
        dependentSchemas: { value: { properties: { existingSecret: false, key: false } } }
      }
    )
  ),
  secretFiles: keyed(
    '^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$',
    object(
      {
        path: { type: 'string', pattern: '^/' },
        existingSecret: { type: 'string', minLength: 1 },
        items: { type: 'array', items: { type: 'object', required: ['key', 'path'] } },
        data: { ...ref('strings'), minProperties: 1 }
      },
      ['path'],
      {
        anyOf: [{ required: ['existingSecret'] }, { required: ['data'] }],
        dependentSchemas: { data: { properties: { existingSecret: false, items: false } } }
      }
    )
  ),
  pluginFiles: keyed('^[a-z0-9]([-a-z0-9]*[a-z0-9])?\\.(js|mjs|ts)$', { type: 'string', minLength: 1 }),
  ingressHost: object(
    {
      host: { type: 'string', minLength: 1 },
      paths: {
        type: 'array',
        minItems: 1,
        items: object(
          {
            path: { type: 'string', pattern: '^/' },
            pathType: { enum: ['Prefix', 'Exact', 'ImplementationSpecific'] }
          },
          ['path']
        )
      }
    },
    ['host']
  ),
  ingressTls: object(
    { secretName: { type: 'string', minLength: 1 }, hosts: { type: 'array', items: { type: 'string' } } },
    []
  )
}
