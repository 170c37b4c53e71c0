/** RFC 6839, 3.1: `+json`. Each parameter is a name and a token or a quoted text without escapes. */
const json =
  /^application\/(?:[\w!#$&^.+-]+\+)?json((?:[ \t]*;[ \t]*[\w-]+=(?:[^\s"(),/:;<=>?@[\\\]{}]+|"[^"\\]*"))*)[ \t]*$/i
const charset = /;[ \t]*charset=("?)([^";]*)\1/gi

/** Whether a body of this type is JSON in UTF-8 (RFC 8259, 8.1) for everybody who reads it. */
export function isJsonType(contentType: string | undefined): boolean {
  if (contentType === undefined) return false
  if (contentType === 'application/json') return true
  const parameters = json.exec(contentType)?.[1]
  if (parameters === undefined) return false
  const charsets = [...parameters.matchAll(charset)].map(([, , name]) => name?.toLowerCase())
  return charsets.length === 0 || (charsets.length === 1 && charsets[0] === 'utf-8')
}
