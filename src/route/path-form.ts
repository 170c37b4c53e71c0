/**
 * The form in which paths are compared. `/a$b` and `/a%24b` are two spellings that most servers read as one (and RFC 3986
 * leaves open), `%c3` and `%C3` are one by definition: were they different to the router, a request could choose by its
 * spelling which route judges it. So everything but unreserved characters and the slashes is one escape here, whichever way
 * it came: `^` and two hex digits, in place of `%`, which find-my-way would decode in its own way. What is forwarded is
 * never this form.
 */

// ALPHA, DIGIT, `-`, `.`, `_`, `~` (RFC 3986, 2.3) and the separator.
const needsForm = /[^A-Za-z0-9\-._~/]/
const special = /%([0-9a-f]{2})|[^A-Za-z0-9\-._~/]/gi

/** A path or one segment of it, canonical as the gate lets it in (escapes are whole, no raw bytes above 0x7f). */
export function pathForm(path: string): string {
  return needsForm.test(path) ? path.replaceAll(special, escapeOne) : path
}

function escapeOne(character: string, digits: string | undefined): string {
  if (digits !== undefined) return `^${digits.toUpperCase()}`
  return `^${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

/** A value of a parameter in this form, decoded. */
export function decodeForm(value: string): string {
  return value.includes('^') ? decodeURIComponent(value.replaceAll('^', '%')) : value
}
