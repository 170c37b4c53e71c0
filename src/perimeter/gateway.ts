import { type Declared, nothingDeclared, perimeterAnnotation, readDeclared } from './declared.ts'
import { type At, BadInput, type Manifests, type Pod } from './objects.ts'
import { isLabelKey, isLabelValue } from './read-labels.ts'
import { type Labels, matches, type Selector, selectorOf } from './selector.ts'

/** Which pods the gateway is. */
export interface Gateway {
  namespace: string
  labels: Labels
  selector: Selector
  /** Its declared pods; empty when only its labels are known. */
  pods: readonly Pod[]
  declared: Declared
  at: At | undefined
}

const product = 'sallyport'

/**
 * The gateway is the Deployment labelled `app.kubernetes.io/name: sallyport`, known by its selector, whose labels never change; or
 * what `--gateway NAMESPACE/key=value,…` says. Throws `BadInput` where that leaves none or several.
 */
export function findGateway(manifests: Manifests, option: string | undefined): Gateway {
  if (option !== undefined) return parseGateway(option, manifests)
  const candidates = manifests.pods.filter(
    pod => pod.kind === 'Deployment' && pod.ownLabels['app.kubernetes.io/name'] === product
  )
  const [found] = candidates
  // The chart's Deployment and a live copy of it are one.
  const second = candidates.find(pod => pod.namespace !== found?.namespace || pod.name !== found.name)
  if (found === undefined) {
    throw new BadInput([
      `no Deployment is labelled app.kubernetes.io/name: ${product}: say which pods the gateway is with --gateway NAMESPACE/key=value,…`
    ])
  }
  if (second !== undefined) {
    const places = candidates.map(each => `${each.namespace}/${each.name} (${each.at})`).join(', ')
    throw new BadInput([
      `several Deployments are labelled app.kubernetes.io/name: ${product}: ${places}: choose with --gateway NAMESPACE/key=value,…`
    ])
  }
  if (found.selector === undefined || Object.keys(found.selector).length === 0) {
    throw new BadInput([
      `${found.at}  the selector of ${found.namespace}/${found.name} is not plain matchLabels: give --gateway NAMESPACE/key=value,…`
    ])
  }
  return gatewayOf(manifests, found.namespace, found.selector, found.at)
}

function parseGateway(option: string, manifests: Manifests): Gateway {
  const slash = option.indexOf('/')
  const namespace = option.slice(0, slash)
  const labels = parseLabels(option.slice(slash + 1))
  if (slash < 1 || labels === undefined || Object.keys(labels).length === 0) {
    throw new BadInput([`--gateway ${JSON.stringify(option)} must be NAMESPACE/key=value,…`])
  }
  return gatewayOf(manifests, namespace, labels, undefined)
}

function gatewayOf(manifests: Manifests, namespace: string, labels: Labels, at: At | undefined): Gateway {
  const selector = selectorOf(labels)
  const pods = manifests.pods.filter(pod => pod.namespace === namespace && matches(selector, pod.labels))
  const owners = pods.filter(pod => pod.annotations[perimeterAnnotation] !== undefined)
  const given = owners.find(pod => pod.kind === 'Deployment')
  const text = given?.annotations[perimeterAnnotation]
  const declared = given && text !== undefined ? readDeclared(text, given.at) : nothingDeclared
  return { namespace, labels, selector, pods, declared, at: at ?? given?.at }
}

/** `key=value,key=value`, or nothing if it is not that. */
export function parseLabels(text: string): Labels | undefined {
  const labels: Record<string, string> = {}
  for (const part of text.split(',').filter(each => each !== '')) {
    const equals = part.indexOf('=')
    if (equals < 1) return undefined
    const key = part.slice(0, equals)
    const value = part.slice(equals + 1)
    if (!isLabelKey(key) || !isLabelValue(value)) return undefined
    labels[key] = value
  }
  return labels
}
