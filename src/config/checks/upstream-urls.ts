import type { Path } from '../config-problem.ts'
import { nearest } from '../nearest.ts'
import type { Check } from './context.ts'
import { originFault } from './url.ts'

/** An upstream is one or more origins: the path is the route's business, and credentials are nobody's. */
export const checkUpstreamUrls: Check = ({ config, isSound, report }) => {
  for (const [name, upstream] of Object.entries(config.upstreams)) {
    const path: Path = ['upstreams', name]
    const { url, endpoints } = upstream
    if (url !== undefined) judge(url, [...path, 'url'])
    const check = upstream.healthCheck?.path
    if (check !== undefined && isSound([...path, 'healthCheck', 'path']) && !/^\/[!-~]*$/.test(check)) {
      report([...path, 'healthCheck', 'path'], 'is not a path', 'begin with /, as in /healthz')
    }
    for (const [index, endpoint] of endpoints.entries()) judge(endpoint, [...path, 'endpoints', index])

    if (!isSound([...path, 'url']) || !isSound([...path, 'endpoints'])) continue
    if (url !== undefined && endpoints.length > 0) {
      report([...path, 'endpoints'], 'stands beside url', 'keep either url or endpoints')
    }
    if (url === undefined && endpoints.length === 0) {
      report(path, 'has neither url nor endpoints', 'add url: http://host:port')
    }
  }

  function judge(text: string, path: Path): void {
    const fault = originFault(text)
    if (!fault) return
    // The text itself may hold a password.
    const scheme = text.split('://')[0] ?? ''
    const meant =
      fault.startsWith('does not begin') && text.includes('://') && nearest(scheme, ['http', 'https'])
    const example = 'write only scheme, host and port: http://orders.shop.svc.cluster.local:80'
    report(path, fault, meant ? `did you mean ${meant}://?` : example)
  }
}
