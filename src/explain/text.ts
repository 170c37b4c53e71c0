import type { Condition } from './conditions.ts'
import type { Explanation, LimitState } from './explanation.ts'

const indent = 12

/** An explanation on one screen; its first line is the verdict. */
export function formatExplanation(explanation: Explanation): string {
  const { request, route, nearest, identity, steps, headers, upstream, perimeter } = explanation
  const lines = [headline(explanation), '']
  row('request', `${request.method} ${request.target}`)
  row('', `${request.protocol}, host ${request.host}, from ${request.clientIp}`)
  if (route !== null) {
    row('route', route.name)
    table(conditions(route.why))
  } else if (nearest !== null) {
    row('route', `none; ${nearest.name} came nearest`)
    table(conditions(nearest.why))
  } else row('route', 'none was looked for')
  if (steps.length > 0) {
    row('plugins')
    table(
      steps.map(({ plugin, phase, verdict, reason, detail }) => [
        plugin,
        phase,
        verdict,
        [reason, detail].filter(one => one !== null).join(': ')
      ])
    )
  }
  if (identity !== null) row('identity', `${identity.subject} of ${identity.issuer} (${identity.kind})`)
  for (const limit of explanation.limits) row('limit', limitLine(limit))
  if (headers.added.length > 0) {
    row('adds')
    table(headers.added.map(({ name, value }) => [name, cut(value)]))
  }
  if (headers.removed.length > 0) row('removes', headers.removed.join(', '))
  if (upstream !== null) {
    row('upstream', `${upstream.name} at ${upstream.endpoints.join(', ')}`)
    if (upstream.shares.length > 1)
      row('', `by weight: ${upstream.shares.map(({ name, weight }) => `${name} ${weight}`).join(', ')}`)
    row('', upstream.path === null ? 'is not asked' : `is asked for ${upstream.path}`)
    row(
      'perimeter',
      perimeter === null
        ? 'not declared: nothing is known of other ways to it'
        : `gateway to ${perimeter.namespace}/${labels(perimeter.podSelector)} port ${perimeter.port}`
    )
  }
  return `${lines.map(line => printable(line).trimEnd()).join('\n')}\n`

  function row(name: string, text = ''): void {
    lines.push(`${name.padEnd(indent)}${text}`)
  }

  function table(cells: readonly (readonly string[])[]): void {
    for (const line of aligned(cells)) lines.push(`${' '.repeat(indent)}${line}`)
  }
}

function headline({ verdict, status, grpcStatus, reason, detail }: Explanation): string {
  if (verdict === 'allow')
    return status === null
      ? "allow: the upstream's answer"
      : `allow: ${status}, answered by the gateway itself`
  const told = grpcStatus === null ? String(status) : `${status} with grpc-status ${grpcStatus}`
  return `deny: ${told} ${reason}${detail === null ? '' : ` (${detail})`}`
}

function conditions(why: readonly Condition[]): string[][] {
  return why.map(({ on, wants, got, met }) => [
    met ? 'yes' : 'NO',
    on,
    cut(wants),
    met ? '' : `not ${cut(got)}`
  ])
}

function limitLine({ plugin, limit, window, remaining, retryAfter, algorithm }: LimitState): string {
  const now = retryAfter > 0 ? `used up for ${Math.ceil(retryAfter / 1000)} s` : `${remaining} left`
  return `${plugin}: ${limit} in ${window / 1000} s (${algorithm}), ${now}`
}

function labels(selector: Readonly<Record<string, string>>): string {
  return Object.entries(selector)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows)
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length)
  return rows.map(row => row.map((cell, at) => cell.padEnd(widths[at] as number)).join('  '))
}

const longest = 70

function cut(text: string): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}

/** What a request brings must not steer a terminal. */
function printable(line: string): string {
  return line.replaceAll(/\p{Cc}/gu, '�')
}
