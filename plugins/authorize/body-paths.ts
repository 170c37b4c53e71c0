import type { ASTNode } from '@marcbachmann/cel-js'

/** Whether a node is a field of `request`. */
export function isFieldOfRequest({ op, args }: ASTNode): boolean {
  return (op === '.' || op === '[]') && args[0].op === 'id' && args[0].args === 'request'
}

/** Whether a node is `request.body`, or may be: `request[…]` is, unless it plainly names something else. */
export function mayBeBody(node: ASTNode): boolean {
  return isBody(node) || (node.op === '[]' && isFieldOfRequest(node) && node.args[1].op !== 'value')
}

/** Whether a node is `request.body`, or a field below it that is named by its path alone. */
export function isFieldOfBody(node: ASTNode): boolean {
  return isBody(node) || (node.op === '.' && isFieldOfBody(node.args[0]))
}

/** The first `request.body` in an expression; null: it does not look at the body. */
export function findBody(node: unknown): ASTNode | null {
  if (Array.isArray(node)) {
    for (const part of node) {
      const found = findBody(part)
      if (found !== null) return found
    }
    return null
  }
  if (!isNode(node)) return null
  return isBody(node) ? node : findBody(node.args)
}

export function isNode(value: unknown): value is ASTNode {
  return typeof value === 'object' && value !== null && 'op' in value && 'args' in value
}

function isBody(node: ASTNode): boolean {
  if (!isFieldOfRequest(node)) return false
  const [, name] = node.args as readonly [ASTNode, string | ASTNode]
  return typeof name === 'string' ? name === 'body' : name.op === 'value' && name.args === 'body'
}
