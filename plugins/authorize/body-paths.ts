import type { ASTNode } from '@marcbachmann/cel-js'

/** Whether a node is `request.body`, or may be: `request[…]` is, unless it plainly names something else. */
export function isBody({ op, args }: ASTNode): boolean {
  if (op !== '.' && op !== '[]') return false
  const [of, name] = args
  if (of.op !== 'id' || of.args !== 'request') return false
  if (typeof name === 'string') return name === 'body'
  return name.op !== 'value' || name.args === 'body'
}

/** Whether a node is `request.body`, or a field below it that is named by its path alone. */
export function isFieldOfBody(node: ASTNode): boolean {
  return isBody(node) || (node.op === '.' && isFieldOfBody(node.args[0]))
}

export function mentionsBody(node: unknown): boolean {
  if (Array.isArray(node)) return node.some(mentionsBody)
  if (typeof node !== 'object' || node === null || !('op' in node)) return false
  const known = node as ASTNode
  return isBody(known) || mentionsBody(known.args)
}
