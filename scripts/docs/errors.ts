import { type Reason, reasons } from '../../src/errors.ts'
import { grpcStatusOf } from '../../src/proxy/grpc/status.ts'
import type { GeneratedFile } from './generate.ts'
import { code, page, table } from './markdown.ts'

const introduction = [
  'Every reason for which the gateway refuses a request. A refusal is a problem document (RFC 9457,',
  '`application/problem+json`) with `type`, `title`, `status`, `code`, `reason` and `requestId`. Reasons and codes are stable:',
  'one may be added, none is renamed or used for something else. A gRPC call gets the status of the column gRPC instead, in trailers',
  'alone, and a WebSocket handshake the problem document.'
].join('\n')

export const errorsPage: GeneratedFile = {
  path: 'docs/reference/errors.md',
  render() {
    const rows = Object.entries(reasons).map(([name, { status, code: stable, title, explanation }]) => [
      code(name),
      String(status),
      String(grpcStatusOf(name as Reason)),
      code(stable),
      title,
      explanation
    ])
    const headings = ['Reason', 'Status', 'gRPC', 'Code', 'Title', 'When, and what to look at']
    return `${[...page('Errors', introduction, 'src/errors.ts'), ...table(headings, rows)].join('\n').trimEnd()}\n`
  }
}
